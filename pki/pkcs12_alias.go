package pki

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"hash"
	"unicode/utf16"
)

// The structures of RFC 7292 sections 4 to 4.2, as far as they are needed to give the key its name.
type (
	pfx struct {
		Version  int
		AuthSafe contentInfo
		MAC      struct {
			Digest struct {
				Algorithm pkix.AlgorithmIdentifier
				Value     []byte
			}
			Salt       []byte
			Iterations int `asn1:"optional,default:1"`
		}
	}
	contentInfo struct {
		Type    asn1.ObjectIdentifier
		Content asn1.RawValue `asn1:"tag:0,explicit,optional"`
	}
	safeBag struct {
		Type       asn1.ObjectIdentifier
		Value      asn1.RawValue  `asn1:"tag:0,explicit"`
		Attributes []bagAttribute `asn1:"set,optional"`
	}
	bagAttribute struct {
		Type   asn1.ObjectIdentifier
		Values []asn1.RawValue `asn1:"set"`
	}
)

var errPKCS12Form = errors.New("not of the form that go-pkcs12 writes")

// nameKey gives the key in a PKCS#12 file the friendly name alias (RFC 2985 section 5.5.1), by which Java and SAP list it, and writes the file's MAC
// anew. go-pkcs12 names trusted certificates only. The key's bag is outside of what is encrypted; the key in it is encrypted for itself.
func nameKey(der []byte, alias, password string) ([]byte, error) {
	var file pfx
	if rest, err := asn1.Unmarshal(der, &file); err != nil || len(rest) > 0 {
		return nil, errPKCS12Form
	}
	safe, err := octets(file.AuthSafe)
	if err != nil {
		return nil, err
	}
	var contents []contentInfo
	if _, err := asn1.Unmarshal(safe, &contents); err != nil {
		return nil, errPKCS12Form
	}
	named := false
	for i := range contents {
		if !contents[i].Type.Equal(oidData) {
			continue
		}
		if contents[i], err = nameBag(contents[i], alias); err != nil {
			return nil, err
		}
		named = true
	}
	if !named {
		return nil, errPKCS12Form
	}
	if safe, err = asn1.Marshal(contents); err != nil {
		return nil, err
	}
	if file.AuthSafe, err = dataContent(safe); err != nil {
		return nil, err
	}
	if file.MAC.Digest.Value, err = pkcs12MAC(&file, safe, password); err != nil {
		return nil, err
	}
	return asn1.Marshal(file)
}

// nameBag adds the attribute to the one bag in c.
func nameBag(c contentInfo, alias string) (contentInfo, error) {
	inner, err := octets(c)
	if err != nil {
		return c, err
	}
	var bags []safeBag
	if _, err := asn1.Unmarshal(inner, &bags); err != nil || len(bags) != 1 {
		return c, errPKCS12Form
	}
	name := asn1.RawValue{Tag: asn1.TagBMPString, Bytes: bmp(alias)}
	bags[0].Attributes = append(bags[0].Attributes, bagAttribute{oidFriendlyName, []asn1.RawValue{name}})
	if inner, err = asn1.Marshal(bags); err != nil {
		return c, err
	}
	return dataContent(inner)
}

// octets is what is in a content of type data (RFC 5652 section 4).
func octets(c contentInfo) (b []byte, err error) {
	if !c.Type.Equal(oidData) {
		return nil, errPKCS12Form
	}
	if _, err := asn1.Unmarshal(c.Content.Bytes, &b); err != nil {
		return nil, errPKCS12Form
	}
	return b, nil
}

func dataContent(b []byte) (contentInfo, error) {
	octetString, err := asn1.Marshal(b)
	return contentInfo{oidData, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: octetString}}, err
}

// pkcs12MAC is the MAC over safe by the parameters in the file (RFC 7292 section 4 and appendix B). One block of its key derivation is all that a key of the
// hash's size needs.
func pkcs12MAC(file *pfx, safe []byte, password string) ([]byte, error) {
	var h func() hash.Hash
	switch id := file.MAC.Digest.Algorithm.Algorithm; {
	case id.Equal(oidSHA1):
		h = sha1.New
	case id.Equal(oidSHA256):
		h = sha256.New
	default:
		return nil, errPKCS12Form
	}
	block := h().BlockSize()
	fill := func(b []byte) []byte { // repeated up to whole blocks
		var filled []byte
		for len(filled) < (len(b)+block-1)/block*block {
			filled = append(filled, b...)
		}
		return filled[:(len(b)+block-1)/block*block]
	}
	d := h()
	for range block {
		d.Write([]byte{3}) // the purpose: a MAC key
	}
	d.Write(fill(file.MAC.Salt))
	d.Write(fill(append(bmp(password), 0, 0)))
	key := d.Sum(nil)
	for range file.MAC.Iterations - 1 {
		d.Reset()
		d.Write(key)
		key = d.Sum(nil)
	}
	mac := hmac.New(h, key)
	mac.Write(safe)
	return mac.Sum(nil), nil
}

// bmp is s as a BMPString: UTF-16, big-endian.
func bmp(s string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = append(b, byte(u>>8), byte(u))
	}
	return b
}
