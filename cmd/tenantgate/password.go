package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/tenantgate/tenantgate/pki"
)

// Passwords come from a file, from standard input or from a terminal, and never from the command line, which every user of the machine can read.

// newPassword reads the password under which a file of that format is written. At a terminal it is asked for twice.
func (p *program) newPassword(cmd *cobra.Command, file string, format pki.Format) (string, error) {
	password, err := p.password(cmd, "--password-file", file, "password of the new file: ")
	if err != nil || file != "" {
		return password, err
	}
	again, err := p.ask("the same again: ")
	if err == nil && again != password {
		err = fmt.Errorf("reading the password for %s: it was not the same twice", format)
	}
	return password, err
}

// password reads a password from the file that a flag names or, without one, at the terminal.
func (p *program) password(cmd *cobra.Command, flag, file, prompt string) (string, error) {
	if file != "" {
		return p.readPassword(file)
	}
	if _, ok := p.terminal(); !ok {
		return "", usageError(cmd, "%s is missing, and there is no terminal to ask at", flag)
	}
	return p.ask(prompt)
}

// readPassword reads a password; a final line end is not part of it.
func (p *program) readPassword(file string) (string, error) {
	b, err := p.readInput(file, "the password")
	if err != nil {
		return "", err
	}
	b = bytes.TrimRight(b, "\r\n")
	if len(b) == 0 {
		return "", errors.New("reading the password: it is empty")
	}
	return string(b), nil
}

// terminal is standard input, if somebody sits there.
func (p *program) terminal() (int, bool) {
	f, ok := p.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	return int(f.Fd()), true
}

// ask reads a line from the terminal without showing it.
func (p *program) ask(prompt string) (string, error) {
	fd, ok := p.terminal()
	if !ok {
		return "", errors.New("reading the password: there is no terminal")
	}
	fmt.Fprint(p.stderr, prompt)
	b, err := term.ReadPassword(fd)
	fmt.Fprintln(p.stderr)
	switch {
	case err != nil:
		return "", fmt.Errorf("reading the password: %w", err)
	case len(b) == 0:
		return "", errors.New("reading the password: it is empty")
	}
	return string(b), nil
}
