package admin

import (
	"net/http"
	"strings"
)

// guard refuses what no client of this API sends: a path that could be read in two ways, and anything that a web page makes a browser
// send. It decides by the request line and two headers, before anything else is looked at.
func guard(r *http.Request) error {
	if !plainPath(r) {
		return errNoAddress
	}
	// No page may administer a server with its reader's certificate. Every browser sends Origin with a cross-origin POST, and
	// Sec-Fetch-Site with all requests but those typed in, which have "none". (The host is not compared: it says nothing here.)
	if len(r.Header.Values("Origin")) > 0 {
		return errCrossOrigin
	}
	for _, site := range r.Header.Values("Sec-Fetch-Site") {
		if site != "none" {
			return errCrossOrigin
		}
	}
	return nil
}

// plainPath says whether the path is made of segments of unreserved characters (RFC 3986, 2.3, less '~') with single slashes between:
// no escapes, no empty, '.' or '..' segments, no parameters, no slash at the end. Such a path reads the same to everybody.
func plainPath(r *http.Request) bool {
	path, ok := strings.CutPrefix(r.URL.Path, "/")
	if !ok || r.URL.EscapedPath() != r.URL.Path {
		return false
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return false
		}
		for i := range len(segment) {
			if !pathByte(segment[i]) {
				return false
			}
		}
	}
	return true
}

func pathByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_'
}
