package main

import (
	_ "embed" // the template below
	"fmt"
	"io"
	"strconv"
	"text/template"
)

// configTemplate is the commented configuration file: what `init` writes, what `config example`
// prints and what configs/example.yaml holds.
//
//go:embed config.yaml.tmpl
var configTemplate string

// renderConfig writes cfg as a commented file that [decodeConfig] reads back as cfg.
func renderConfig(w io.Writer, cfg *Config) error {
	t, err := template.New("config").Funcs(template.FuncMap{"quote": strconv.Quote}).Parse(configTemplate)
	if err != nil {
		return fmt.Errorf("parsing the configuration template: %w", err)
	}
	if err := t.Execute(w, cfg); err != nil {
		return fmt.Errorf("writing the configuration: %w", err)
	}
	return nil
}
