package pki

import (
	"bytes"
	"context"
	"crypto"
	_ "crypto/sha1"   // the hash in the requests of most clients
	_ "crypto/sha512" // and in those of some
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"sync"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cryptobyteasn1 "golang.org/x/crypto/cryptobyte/asn1"
	"golang.org/x/crypto/ocsp"
)

// MaxOCSPRequest bounds a request about a certificate, in octets. One is some 80 long, with a nonce 120.
const MaxOCSPRequest = 1024

// Answers about certificates that this CA has not issued are signed at most unknownRate times a second, after a first unknownBurst: nobody can guess a
// serial number, so that whoever asks for many is after our processor, or our key device.
const (
	unknownRate  = 10
	unknownBurst = 50
)

// An OCSPAnswer is the answer to a request about a certificate (RFC 6960).
type OCSPAnswer struct {
	// DER is the response, to be sent as application/ocsp-response.
	DER []byte
	// Status is good, revoked or unknown; or malformed, unauthorized (the issuer is not this CA), tryLater or internalError, which nobody signs.
	Status string
	// ThisUpdate and NextUpdate are when the answer begins and ends to be true; zero when there is no status.
	ThisUpdate, NextUpdate time.Time
}

// Refusals, which are not signed.
var (
	ocspMalformed    = OCSPAnswer{DER: ocsp.MalformedRequestErrorResponse, Status: "malformed"}
	ocspUnauthorized = OCSPAnswer{DER: ocsp.UnauthorizedErrorResponse, Status: "unauthorized"}
	ocspTryLater     = OCSPAnswer{DER: ocsp.TryLaterErrorResponse, Status: "tryLater"}
	ocspInternal     = OCSPAnswer{DER: ocsp.InternalErrorErrorResponse, Status: "internalError"}
)

// OCSP answers a request about one certificate (RFC 6960 in the profile of RFC 5019): the issuer itself signs, for [Options].OCSPLifetime, and an answer is
// given again until half of that is over, as long as the record has not changed. It asks the record each time, so that a revocation shows in the next answer on
// every node. While the database cannot be asked, what the published list names is revoked, and about the others the last answer is given until its end. A nonce is not repeated (RFC 6960 section 4.4: every
// extension is optional): an answer that is signed for each request would let anybody use the CA's key at will.
//
// The error is for a log; the answer is there all the same.
func (ca *CA) OCSP(ctx context.Context, request []byte) (OCSPAnswer, error) {
	q, err := parseOCSPRequest(request)
	if err != nil {
		return ocspMalformed, nil
	}
	by := ca.issuerOf(q)
	if by == nil {
		return ocspUnauthorized, nil
	}
	key := answerKey{by.id, q.HashAlgorithm, FormatSerial(q.SerialNumber)}
	known, cached := ca.answers.get(key)
	now := ca.options.Now()
	state, err := ca.ocspState(ctx, by, key.serial)
	if err != nil && known.state.status != ocsp.Revoked { // the last answer may be older than the list
		if listed, ok := by.listed(key.serial); ok {
			return ca.answerOCSP(by, q, key, listed, now, err)
		}
	}
	switch {
	case err != nil && cached && now.Before(known.answer.NextUpdate):
		return known.answer, err
	case err != nil:
		return ocspTryLater, err
	case cached && known.state == state && now.Before(known.again) && !now.Before(known.answer.ThisUpdate):
		return known.answer, nil
	case state.status == ocsp.Unknown && !ca.unknown.AllowN(now, 1):
		return ocspTryLater, nil
	}
	return ca.answerOCSP(by, q, key, state, now, nil)
}

// answerOCSP signs an answer and remembers it. It returns the error that it is given, or its own.
func (ca *CA) answerOCSP(by *issuer, q *ocsp.Request, key answerKey, state ocspState, now time.Time, failed error) (OCSPAnswer, error) {
	answer, err := ca.signOCSP(by, q, state, now)
	if err != nil {
		return ocspInternal, errors.Join(failed, err)
	}
	if state.status != ocsp.Unknown {
		ca.answers.put(key, signedAnswer{answer, state, now.Add(ca.options.OCSPLifetime / 2)})
	}
	return answer, failed
}

// parseOCSPRequest reads a request for exactly one certificate. One that is signed is refused: it does not matter who asks.
func parseOCSPRequest(der []byte) (*ocsp.Request, error) {
	if len(der) > MaxOCSPRequest {
		return nil, errors.New("too long")
	}
	q, err := ocsp.ParseRequest(der)
	if err != nil {
		return nil, err
	}
	// ParseRequest takes the first of several.
	var request, tbs, list, one cryptobyte.String
	s := cryptobyte.String(der)
	version, name := cryptobyteasn1.Tag(0).ContextSpecific().Constructed(), cryptobyteasn1.Tag(1).ContextSpecific().Constructed()
	if !s.ReadASN1(&request, cryptobyteasn1.SEQUENCE) || !request.ReadASN1(&tbs, cryptobyteasn1.SEQUENCE) ||
		!tbs.SkipOptionalASN1(version) || !tbs.SkipOptionalASN1(name) || !tbs.ReadASN1(&list, cryptobyteasn1.SEQUENCE) ||
		!list.ReadASN1(&one, cryptobyteasn1.SEQUENCE) || !list.Empty() {
		return nil, errors.New("not a request for one certificate")
	}
	if q.SerialNumber == nil || q.SerialNumber.Sign() <= 0 {
		return nil, errors.New("no serial number that a certificate could have")
	}
	return q, nil
}

// issuerOf finds the issuer that a request names by the hashes of its name and key (RFC 6960 section 4.1.1).
func (ca *CA) issuerOf(q *ocsp.Request) *issuer {
	for _, i := range ca.lineage.Load().issuers {
		name, key := issuerHashes(i.cert, q.HashAlgorithm)
		if name != nil && bytes.Equal(name, q.IssuerNameHash) && bytes.Equal(key, q.IssuerKeyHash) {
			return i
		}
	}
	return nil
}

func issuerHashes(c *x509.Certificate, h crypto.Hash) (name, key []byte) {
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(c.RawSubjectPublicKeyInfo, &info); err != nil || !h.Available() {
		return nil, nil
	}
	sum := func(b []byte) []byte {
		d := h.New()
		d.Write(b)
		return d.Sum(nil)
	}
	return sum(c.RawSubject), sum(info.Key.RightAlign())
}

// ocspState is what the record, or the list, says of a certificate.
type ocspState struct {
	status  int // of package ocsp
	revoked int64
	reason  int // its number
}

func (ca *CA) ocspState(ctx context.Context, by *issuer, serial string) (ocspState, error) {
	ctx, cancel := context.WithTimeout(ctx, ca.options.DatabaseTimeout)
	defer cancel()
	r, err := readRecord(ctx, ca.options.DB, serial)
	switch {
	case errors.Is(err, ErrNotFound), err == nil && r.Issuer != by.id:
		return ocspState{status: ocsp.Unknown}, nil
	case err != nil:
		return ocspState{}, err
	case r.RevokedAt.IsZero():
		return ocspState{status: ocsp.Good}, nil
	}
	return ocspState{ocsp.Revoked, r.RevokedAt.UnixMicro(), reasonCode(r.RevocationReason)}, nil
}

// signOCSP makes an answer. It begins with the minute, as the time at which x/crypto/ocsp says that it was made.
func (ca *CA) signOCSP(by *issuer, q *ocsp.Request, s ocspState, now time.Time) (OCSPAnswer, error) {
	this := now.UTC().Truncate(time.Minute)
	answer := OCSPAnswer{Status: ocspWords[s.status], ThisUpdate: this, NextUpdate: this.Add(ca.options.OCSPLifetime).Truncate(time.Minute)}
	template := ocsp.Response{
		Status: s.status, SerialNumber: new(big.Int).Set(q.SerialNumber), IssuerHash: q.HashAlgorithm,
		ThisUpdate: answer.ThisUpdate, NextUpdate: answer.NextUpdate,
	}
	if s.status == ocsp.Revoked {
		template.RevokedAt, template.RevocationReason = micros(s.revoked), s.reason
	}
	der, err := ocsp.CreateResponse(by.cert, by.cert, template, by.signer)
	answer.DER = der
	return answer, err
}

var ocspWords = map[int]string{ocsp.Good: "good", ocsp.Revoked: "revoked", ocsp.Unknown: "unknown"}

// staple returns an answer about one of this CA's own certificates, for a TLS handshake (RFC 6066 section 8).
func (ca *CA) staple(ctx context.Context, leaf *x509.Certificate) (OCSPAnswer, error) {
	by := ca.signing().cert
	for _, i := range ca.lineage.Load().issuers {
		if sameIssuer(leaf, i.cert) && leaf.CheckSignatureFrom(i.cert) == nil {
			by = i.cert
		}
	}
	request, err := ocsp.CreateRequest(leaf, by, nil)
	if err != nil {
		return OCSPAnswer{}, err
	}
	return ca.OCSP(ctx, request)
}

// answerKey is about which certificate was asked, and by which hash of its issuer: the answer repeats it.
type answerKey struct {
	issuer string
	hash   crypto.Hash
	serial string
}

// signedAnswer is an answer, what the record said when it was signed, and from when on another one is signed.
type signedAnswer struct {
	answer OCSPAnswer
	state  ocspState
	again  time.Time
}

// answers remembers what was signed. Safe for concurrent use.
type answers struct {
	mu       sync.Mutex // guards both maps
	now, old map[answerKey]signedAnswer
}

// maxAnswers bounds each of the two maps: when the newer is full it becomes the older, and what was in that is forgotten.
const maxAnswers = 8192

func (a *answers) get(key answerKey) (signedAnswer, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	v, ok := a.now[key]
	if !ok {
		v, ok = a.old[key]
	}
	return v, ok
}

func (a *answers) put(key answerKey, v signedAnswer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.now == nil || len(a.now) >= maxAnswers {
		a.old, a.now = a.now, make(map[answerKey]signedAnswer)
	}
	a.now[key] = v
}
