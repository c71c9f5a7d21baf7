// Command labpostgres runs a private PostgreSQL (see package lab) for tests outside cmd, which can't import that package,
// and for people who want to try something. It prints the server's address, and obeys lines from standard input:
//
//	database NAME   makes a database, and prints its URL
//	stop            ends the server
//	kill            ends it in the middle of what it does
//	start           runs it again, with the same data, at the same address
//
// It answers each with "ok …" or "error …". At the end of its input it removes the server, so that none stays behind a
// test that was killed.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"gatemilter/cmd/internal/lab"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("labpostgres: ")
	password := flag.String("password", "", "password of the user, asked for by SCRAM-SHA-256; empty: whoever comes is trusted")
	flag.Parse()
	if err := run(*password); err != nil {
		log.Fatal(err)
	}
}

func run(password string) (err error) {
	// The end comes with that of the input: a signal to the whole group must not leave a server behind.
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM)
	ctx := context.Background()
	if err := lab.NeedPostgres(ctx, log.Printf); err != nil {
		return err
	}
	p, err := lab.StartPostgres(ctx, lab.PostgresConfig{Password: password})
	if err != nil {
		return err
	}
	defer func() {
		if closed := p.Close(); err == nil {
			err = closed
		}
	}()
	fmt.Println("ok", p.Addr())
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		answer, err := obey(ctx, p, lines.Text())
		if err != nil {
			fmt.Printf("error %q\n", err)
			continue
		}
		fmt.Println("ok", answer)
	}
	return lines.Err()
}

func obey(ctx context.Context, p *lab.Postgres, line string) (answer string, err error) {
	switch command, argument, _ := strings.Cut(line, " "); command {
	case "database":
		return p.NewDatabase(ctx, argument)
	case "stop":
		return "", p.Stop()
	case "kill":
		return "", p.Kill()
	case "start":
		return "", p.Start(ctx)
	default:
		return "", fmt.Errorf("there is no command %q", command)
	}
}
