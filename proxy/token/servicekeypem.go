package token

import (
	"encoding/base64"
	"encoding/pem"
	"errors"
	"strings"
)

// readPEM reads PEM blocks however a web page, a shell or a JSON encoder has mangled their line breaks: literal \n, CRLF,
// none at all, and a missing row of dashes at the very end (TENANTS.md 1.3, 1.5). Text between blocks is ignored.
func readPEM(s string) ([]*pem.Block, error) {
	s = strings.NewReplacer(`\r\n`, "\n", `\n`, "\n", `\r`, "\n", "\r", "\n").Replace(s)
	var blocks []*pem.Block
	for {
		_, rest, found := strings.Cut(s, "-----BEGIN ")
		if !found {
			break
		}
		label, rest, found := strings.Cut(rest, "-----")
		if !found || len(label) > 64 || strings.ContainsAny(label, "\n:") {
			return nil, errors.New("a PEM block begins wrongly")
		}
		body, rest, found := strings.Cut(rest, "-----END "+label)
		if !found {
			return nil, errors.New("a PEM block does not end")
		}
		if strings.Contains(body, ":") {
			return nil, errors.New("a PEM block has headers, as an encrypted key does")
		}
		der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(body), ""))
		if err != nil || len(der) == 0 {
			return nil, errors.New("a PEM block is no base64")
		}
		blocks = append(blocks, &pem.Block{Type: label, Bytes: der})
		s = rest
	}
	if len(blocks) == 0 {
		return nil, errors.New("it is no PEM")
	}
	return blocks, nil
}
