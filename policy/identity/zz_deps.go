package identity // holds the versions of the modules until they are used

import (
	_ "golang.org/x/text/language"
	_ "golang.org/x/time/rate"
)
