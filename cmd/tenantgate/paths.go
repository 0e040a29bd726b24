package main

// configPath is the configuration file that the flags or the environment name.
func (p *program) configPath() string {
	if p.config != "" {
		return p.config
	}
	if env := p.getenv("TENANTGATE_CONFIG"); env != "" {
		return env
	}
	return "tenantgate.yaml"
}
