package daemon

import (
	"go.uber.org/zap"

	"gatemilter/policy/config"
)

// maxChanges is how many changed settings of a reload are logged one by one: a file with
// very many users may come and go.
const maxChanges = 200

// changes says of each setting that a reload has changed what it was and is.
func (l *eventLog) changes(list []config.Change) {
	for i, c := range list {
		if i == maxChanges {
			l.zap.Info("more settings changed", changedEvent, zap.Int("not_shown", len(list)-maxChanges))
			return
		}
		l.zap.Info("setting changed", changedEvent, zap.String("section", c.Section), zap.String("key", c.Key), zap.String("old", short(c.Old)), zap.String("new", short(c.New)))
	}
	if len(list) == 0 {
		l.zap.Info("no setting changed", changedEvent)
	}
}
