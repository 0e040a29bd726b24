package admin

// Endpoints lists the requests of /v1 as "METHOD /v1/path", and the parameters of each.
func Endpoints() map[string][]string {
	all := make(map[string][]string)
	for _, e := range endpoints {
		all[e.method+" /v1/"+e.path] = e.query
	}
	return all
}

// MaxLimit is the size of the client's pages.
const MaxLimit = maxLimit
