package main

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"os"
	"strings"
)

// fleetClient is Go's client, from an address of its own, with a certificate if there is one.
func fleetClient(source, ca, cert, key string) (*http.Client, error) {
	roots, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	config.RootCAs.AppendCertsFromPEM(roots)
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
	return &http.Client{Timeout: deadline, Transport: &http.Transport{TLSClientConfig: config, DialContext: dialer.DialContext}}, nil
}

func newFleetRequest(method, url string, password bool) (*http.Request, error) {
	request, err := http.NewRequest(method, url, nil)
	if err != nil || !password {
		return request, err
	}
	secret, err := os.ReadFile("password")
	if err != nil {
		return nil, err
	}
	request.SetBasicAuth("P2001234567", strings.TrimSpace(string(secret)))
	return request, nil
}
