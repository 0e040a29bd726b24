package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"strconv"
)

// Paths of the tenant: a small answer to whatever is sent there, and a large one.
const (
	small = "/http/orders/1"
	large = "/http/archive"
)

const (
	bearer      = "token-of-the-benchmark"
	largeOctets = 256e6
)

var (
	smallAnswer  = append([]byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1024\r\n\r\n"), bytes.Repeat([]byte("x"), 1024)...)
	largeHead    = fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n", int(largeOctets))
	refusal      = []byte("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
	tokenBody    = `{"access_token":"` + bearer + `","token_type":"bearer","expires_in":43199}`
	tokenAnswer  = fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(tokenBody), tokenBody)
	bearerValue  = []byte("Bearer " + bearer)
	tokenRequest = []byte("POST /oauth/token ")
	largeRequest = []byte("GET " + large + " ")
)

// zeros are what large bodies are made of.
var zeros = make([]byte, 64<<10)

// startTenant starts the tenant, in a process and on a core that are not the proxy's.
func (f *field) startTenant() error {
	address := local(f.ports.Tenant)
	p, err := f.start("tenant", f.cores.tenant, f.self, "tenant", address, f.pki())
	if err != nil {
		return err
	}
	return p.wait(f.ctx, func() error {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
		}
		return err
	})
}

// serveTenant is the tenant's process: it gives out a token, refuses requests without it, and receives a body to its end before it answers. It is made to
// take as little as it can from the load, and from the proxy's sight it is any HTTP/1.1 server.
func serveTenant(args []string) error {
	conf, err := loadTLS(args[1], "server")
	if err != nil {
		return err
	}
	l, err := tls.Listen("tcp", args[0], conf)
	if err != nil {
		return err
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			for in := bufio.NewReaderSize(c, 32<<10); serveOne(c, in) == nil; {
			}
		}()
	}
}

// serveOne serves one request.
func serveOne(c net.Conn, in *bufio.Reader) error {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return err
	}
	isToken, isLarge := bytes.HasPrefix(line, tokenRequest), bytes.HasPrefix(line, largeRequest)
	authorized, length := isToken, 0
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			break
		}
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("Authorization")):
			authorized = authorized || bytes.Equal(value, bearerValue)
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil {
				return err
			}
		}
	}
	if _, err := in.Discard(length); err != nil {
		return err
	}
	switch {
	case isToken:
		_, err = c.Write(tokenAnswer)
	case !authorized:
		_, err = c.Write(refusal)
	case isLarge:
		err = writeLarge(c)
	default:
		_, err = c.Write(smallAnswer)
	}
	return err
}

func writeLarge(c net.Conn) error {
	_, err := c.Write(largeHead)
	for left := int(largeOctets); left > 0 && err == nil; {
		var n int
		n, err = c.Write(zeros[:min(left, len(zeros))])
		left -= n
	}
	return err
}
