package lab

import (
	"context"
	"errors"
	"os"
	"path/filepath"
)

const (
	// labCache is where Sendmail and its instances live. Sendmail takes no file for safe that is below a directory like
	// /tmp, in which everybody may write.
	labCache = "/var/cache/gatemilter-lab"
	// sendmailRoot is what Debian's packages are unpacked to: they conflict with any other mail server's if installed.
	sendmailRoot = labCache + "/sendmail"
	// sendmailComplete is written last.
	sendmailComplete = sendmailRoot + "/complete"
	sendmailBinary   = sendmailRoot + "/usr/libexec/sendmail/sendmail"
	sendmailM4       = sendmailRoot + "/usr/bin/m4"
	sendmailCF       = sendmailRoot + "/usr/share/sendmail/cf/"
)

// sendmailPackages are unpacked, not installed.
var sendmailPackages = []string{"sendmail-bin", "sendmail-cf", "m4", "libwrap0"}

// sendmailLibraries are installed. Other software that a Debian system has needs all but the last one, as a rule.
var sendmailLibraries = []string{"libdb5.3", "libnsl2", "libldap-2.5-0", "libsasl2-2", "libssl3", "libsasl2-modules"}

// NeedSendmail sees that there is a Sendmail for [StartSendmail]: Debian's packages, unpacked to a directory of their own
// below /var/cache, where the next run finds them. They are not installed, so a mail server that is stays as it is. What
// is installed are missing libraries, as by NeedPackages.
func NeedSendmail(ctx context.Context, logf func(format string, args ...any)) error {
	if err := NeedPackages(ctx, logf, sendmailLibraries...); err != nil {
		return err
	}
	return unpackOnce(ctx, logf, sendmailPackages, sendmailRoot, sendmailComplete, unpackSendmail)
}

func unpackSendmail(ctx context.Context) error {
	if err := unpack(ctx, sendmailRoot, sendmailPackages); err != nil {
		return err
	}
	// Debian's is set-group-ID, for which ld.so(8) looks in no LD_LIBRARY_PATH.
	return os.Chmod(sendmailBinary, 0o755)
}

// sendmailLibraryPath is where the libraries are that were unpacked.
func sendmailLibraryPath() (string, error) {
	found, err := filepath.Glob(sendmailRoot + "/usr/lib/*/libwrap.so.0")
	if err != nil || found == nil {
		return "", errors.New("there is no private Sendmail: call NeedSendmail first")
	}
	return filepath.Dir(found[0]), nil
}
