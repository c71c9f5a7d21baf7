package identity

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
)

// The SQL of each schema version, in the folder of each database. What has been released is
// never edited: there are databases that have it.
//
//go:embed migrations
var migrations embed.FS

// schemaTable remembers which migrations a database has had.
const schemaTable = "schema_version"

// migrate brings the database to the schema that this program knows. The caller, or an
// option, sees to it that of several that begin at once one does it, and the others wait.
func migrate(ctx context.Context, db *sql.DB, dialect goose.Dialect, folder string, options ...goose.ProviderOption) error {
	p, err := migrator(db, dialect, folder, options...)
	if err != nil {
		return err
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("preparing its tables: %w", err)
	}
	has, knows, err := p.GetVersions(ctx)
	if err == nil && has > knows {
		err = errors.New("a newer gatemilter has changed its tables: run that version here, too")
	}
	return err
}

func migrator(db *sql.DB, dialect goose.Dialect, folder string, options ...goose.ProviderOption) (*goose.Provider, error) {
	files, err := fs.Sub(migrations, "migrations/"+folder)
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(dialect, db, files, append(options, goose.WithTableName(schemaTable), goose.WithDisableGlobalRegistry(true))...)
}
