package main

import (
	"bytes"
	"fmt"

	"github.com/spf13/cobra"
)

func newConfigCommand(p *program) *cobra.Command {
	return group(&cobra.Command{
		Use:   "config",
		Short: "Check and explain the configuration file of a server",
		Long: `The configuration file holds what one node needs to start: listeners, database, keys, log.
It is strict: unknown keys are refused with their line and the nearest known key.`,
		Example: `  tenantgate config example > tenantgate.yaml
  tenantgate config check -c tenantgate.yaml`,
	}, newConfigCheckCommand(p), newConfigExampleCommand(p))
}

func newConfigCheckCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Check a configuration file without starting anything",
		Long: `check reads the file and the key files that it names, and opens nothing else: no port, no
database. It exits 0, or names the line that is wrong.`,
		Example: `  tenantgate config check -c /var/lib/tenantgate/tenantgate.yaml`,
		Args:    exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return checkConfig(p)
		},
	}
}

// checkConfig is `config check` and `serve --check`.
func checkConfig(p *program) error {
	path := p.configPath()
	cfg, err := loadConfig(path)
	if err != nil {
		return err
	}
	if err := checkKeyFiles(cfg); err != nil {
		return err
	}
	if err := checkCallerSource(cfg); err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "%s is valid\n", path)
	return nil
}

func newConfigExampleCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "example",
		Short:   "Print every key with its meaning and default",
		Example: `  tenantgate config example | less`,
		Args:    exactArgs(),
		RunE: func(*cobra.Command, []string) error {
			cfg := defaultConfig()
			var b bytes.Buffer
			if err := renderConfig(&b, &cfg); err != nil {
				return err
			}
			_, err := p.stdout.Write(b.Bytes())
			return err
		},
	}
}
