package identity

import (
	"bytes"
	"context"
	"fmt"
	"math/big"
	"slices"
	"strings"
)

// Authority returns the authority of this name as the transaction sees it, or an [ErrNotFound] error.
func (tx *Tx) Authority(name string) (Authority, error) {
	e, err := tx.AuthorityEntry(name)
	if err != nil {
		return Authority{}, err
	}
	a := *e.Authority
	a.CRLURLs = slices.Clone(a.CRLURLs)
	return a, nil
}

// AuthorityEntry returns the authority with all that hangs on it, which must not be changed, or an [ErrNotFound] error.
func (tx *Tx) AuthorityEntry(name string) (*AuthorityEntry, error) {
	if e, ok := tx.draft.authorities.Find(name); ok {
		return e, nil
	}
	return nil, notFound(ObjectAuthority, name)
}

// AddAuthority stores a new authority and returns it as stored. One of whose anchors another authority has the key is refused.
func (tx *Tx) AddAuthority(ctx context.Context, a Authority) (Authority, error) {
	if err := a.Validate(); err != nil {
		return Authority{}, err
	}
	if _, ok := tx.draft.authorities.Find(a.Name); ok {
		return Authority{}, exists(ObjectAuthority, a.Name)
	}
	a.Created = tx.now
	return tx.storeAuthority(ctx, &AuthorityEntry{}, a, insertAuthority)
}

// SetAuthority replaces all fields of the authority of that name and returns it as stored. Lists that were fetched from addresses which it no longer names
// are dropped.
func (tx *Tx) SetAuthority(ctx context.Context, a Authority) (Authority, error) {
	if err := a.Validate(); err != nil {
		return Authority{}, err
	}
	e, err := tx.AuthorityEntry(a.Name)
	if err != nil {
		return Authority{}, err
	}
	for _, l := range e.Lists {
		if l.Uploaded() || slices.Contains(a.CRLURLs, l.Source) {
			continue
		}
		if err := tx.RemoveRevocationList(ctx, a.Name, l.Source); err != nil {
			return Authority{}, err
		}
	}
	e, _ = tx.draft.authorities.Find(a.Name)
	a.Created = e.Authority.Created
	return tx.storeAuthority(ctx, e, a, updateAuthority)
}

func (tx *Tx) storeAuthority(ctx context.Context, e *AuthorityEntry, a Authority, statement string) (Authority, error) {
	if err := tx.anchorsAreNew(&a); err != nil {
		return Authority{}, err
	}
	a = a.normal()
	a.Updated = tx.now
	if err := tx.exec(ctx, "storing an authority", statement, authorityArgs(&a)...); err != nil {
		return Authority{}, err
	}
	kept := a
	kept.CRLURLs = slices.Clone(a.CRLURLs)
	tx.draft.putAuthority(&AuthorityEntry{Authority: &kept, Mappings: e.Mappings, Blocks: e.Blocks, Lists: e.Lists})
	return a, nil
}

// anchorsAreNew refuses an anchor whose key is an anchor's already: two sets of rules would judge one certificate.
func (tx *Tx) anchorsAreNew(a *Authority) error {
	mine, err := a.Anchors()
	if err != nil {
		return err
	}
	for i, c := range mine {
		for _, o := range mine[:i] {
			if bytes.Equal(c.RawSubjectPublicKeyInfo, o.RawSubjectPublicKeyInfo) {
				return &Error{Code: ErrExists, Object: ObjectAuthority, Name: a.Name, Field: "ca", Message: "two anchors have the same key", Hint: "give one of them"}
			}
		}
	}
	for _, e := range tx.draft.authorities.All() {
		theirs, err := e.Authority.Anchors()
		if err != nil || e.Authority.Name == a.Name {
			continue
		}
		for _, c := range mine {
			for _, o := range theirs {
				if bytes.Equal(c.RawSubjectPublicKeyInfo, o.RawSubjectPublicKeyInfo) {
					return &Error{Code: ErrExists, Object: ObjectAuthority, Name: a.Name, Field: "ca", Message: quoted(c.Subject.String()) + " has the key of an anchor of authority " +
						quoted(e.Authority.Name), Hint: "add the rules to that authority"}
				}
			}
		}
	}
	return nil
}

// RemoveAuthority removes an authority. While it has mappings it is refused, unless cascade says that they go, too.
func (tx *Tx) RemoveAuthority(ctx context.Context, name string, cascade bool) error {
	e, err := tx.AuthorityEntry(name)
	if err != nil {
		return err
	}
	if len(e.Mappings) > 0 && !cascade {
		return inUse(ObjectAuthority, name, fmt.Sprintf("%d mappings, the first for identity %s", len(e.Mappings), quoted(e.Mappings[0].Identity)),
			"remove its mappings first, or have that done by asking for a cascade")
	}
	if tx.ended {
		return errEnded
	}
	for _, table := range []string{"authority_mappings", "authority_blocks", "authority_crls", "authority_fetches"} {
		if _, err := tx.sql.ExecContext(ctx, `DELETE FROM `+table+` WHERE authority = $1`, name); err != nil {
			return fmt.Errorf("removing an authority: %w", err)
		}
	}
	if err := tx.exec(ctx, "removing an authority", deleteAuthority, name); err != nil {
		return err
	}
	tx.draft.dropAuthority(name)
	return nil
}

// AddMapping adds a rule to an authority and returns it as stored. A rule that is there, one for an identity that is missing, and one that would give a
// certificate to two identities are refused.
func (tx *Tx) AddMapping(ctx context.Context, authority string, m Mapping) (Mapping, error) {
	m, err := NewMapping(authority, m.Kind, m.Value, m.Identity)
	if err != nil {
		return Mapping{}, err
	}
	e, err := tx.AuthorityEntry(authority)
	if err != nil {
		return Mapping{}, err
	}
	if m.Identity != AnyIdentity {
		if _, err := tx.Identity(m.Identity); err != nil {
			return Mapping{}, err
		}
	}
	for i := range e.Mappings {
		o := &e.Mappings[i]
		switch {
		case o.Kind == m.Kind && o.Value == m.Value && o.Identity == m.Identity:
			return Mapping{}, &Error{Code: ErrExists, Object: ObjectAuthority, Name: authority, Field: "value", Message: "the mapping exists already", Hint: "nothing is left to do"}
		case m.collides(o):
			return Mapping{}, &Error{Code: ErrOverlap, Object: ObjectAuthority, Name: authority, Field: "value",
				Message: fmt.Sprintf("a certificate could stand for two identities by %s %s and by %s, which is for %s", m.Kind, quoted(m.Value), quoted(o.Value), quoted(o.Identity)),
				Hint:    "remove the other mapping first, or make one of them narrower"}
		}
	}
	m.Created = tx.now
	if err := tx.exec(ctx, "storing a mapping", insertMapping, authority, m.Kind, m.Value, m.Identity, micros(m.Created)); err != nil {
		return Mapping{}, err
	}
	tx.draft.putAuthority(&AuthorityEntry{Authority: e.Authority, Mappings: append(slices.Clone(e.Mappings), m), Blocks: e.Blocks, Lists: e.Lists})
	return m, nil
}

// RemoveMapping removes a rule and returns it, or an [ErrNotFound] error.
func (tx *Tx) RemoveMapping(ctx context.Context, authority string, m Mapping) (Mapping, error) {
	m, err := NewMapping(authority, m.Kind, m.Value, m.Identity)
	if err != nil {
		return Mapping{}, err
	}
	e, err := tx.AuthorityEntry(authority)
	if err != nil {
		return Mapping{}, err
	}
	i := slices.IndexFunc(e.Mappings, func(o Mapping) bool { return o.Kind == m.Kind && o.Value == m.Value && o.Identity == m.Identity })
	if i < 0 {
		return Mapping{}, &Error{Code: ErrNotFound, Object: ObjectAuthority, Name: authority, Field: "value", Message: "has no such mapping", Hint: "authority show lists them"}
	}
	return e.Mappings[i], tx.dropMapping(ctx, e, i)
}

func (tx *Tx) dropMapping(ctx context.Context, e *AuthorityEntry, i int) error {
	m := e.Mappings[i]
	if err := tx.exec(ctx, "removing a mapping", deleteMapping, e.Authority.Name, m.Kind, m.Value); err != nil {
		return err
	}
	tx.draft.putAuthority(&AuthorityEntry{Authority: e.Authority, Mappings: slices.Delete(slices.Clone(e.Mappings), i, i+1), Blocks: e.Blocks, Lists: e.Lists})
	return nil
}

// Mappings returns the rules of all authorities that are for one identity by name, in the form "authority: kind value".
func (tx *Tx) Mappings(identity string) []string {
	var list []string
	for _, e := range tx.draft.authorities.All() {
		for _, m := range e.Mappings {
			if m.Identity == identity {
				list = append(list, e.Authority.Name+": "+m.Kind+" "+m.Value)
			}
		}
	}
	return list
}

// dropMappings removes all rules of an identity.
func (tx *Tx) dropMappings(ctx context.Context, identity string) error {
	for _, e := range tx.draft.authorities.All() {
		for {
			i := slices.IndexFunc(e.Mappings, func(m Mapping) bool { return m.Identity == identity })
			if i < 0 {
				break
			}
			if err := tx.dropMapping(ctx, e, i); err != nil {
				return err
			}
			e, _ = tx.draft.authorities.Find(e.Authority.Name)
		}
	}
	return nil
}

// AddBlock has one certificate of an authority refused from now on and returns the block as stored. One that is blocked already stays so.
func (tx *Tx) AddBlock(ctx context.Context, authority, certificate, reason string) (Block, error) {
	e, err := tx.AuthorityEntry(authority)
	if err != nil {
		return Block{}, err
	}
	b, err := NewBlock(authority, certificate)
	if err != nil {
		return Block{}, err
	}
	v := validation{object: ObjectAuthority, name: authority}
	if v.text("reason", reason); v.err() != nil {
		return Block{}, v.err()
	}
	if i := slices.IndexFunc(e.Blocks, func(o Block) bool { return o.Kind == b.Kind && o.Value == b.Value }); i >= 0 {
		return e.Blocks[i], nil
	}
	b.Reason, b.Created = reason, tx.now
	if err := tx.exec(ctx, "blocking a certificate", insertBlock, authority, b.Kind, b.Value, b.Reason, micros(b.Created)); err != nil {
		return Block{}, err
	}
	tx.draft.putAuthority(&AuthorityEntry{Authority: e.Authority, Mappings: e.Mappings, Blocks: append(slices.Clone(e.Blocks), b), Lists: e.Lists})
	return b, nil
}

// RemoveBlock undoes AddBlock and returns what was removed, or an [ErrNotFound] error.
func (tx *Tx) RemoveBlock(ctx context.Context, authority, certificate string) (Block, error) {
	e, err := tx.AuthorityEntry(authority)
	if err != nil {
		return Block{}, err
	}
	b, err := NewBlock(authority, certificate)
	if err != nil {
		return Block{}, err
	}
	i := slices.IndexFunc(e.Blocks, func(o Block) bool { return o.Kind == b.Kind && o.Value == b.Value })
	if i < 0 {
		return Block{}, &Error{Code: ErrNotFound, Object: ObjectAuthority, Name: authority, Field: "certificate", Message: "is not blocked", Hint: "authority show lists what is"}
	}
	b = e.Blocks[i]
	if err := tx.exec(ctx, "unblocking a certificate", deleteBlock, authority, b.Kind, b.Value); err != nil {
		return Block{}, err
	}
	tx.draft.putAuthority(&AuthorityEntry{Authority: e.Authority, Mappings: e.Mappings, Blocks: slices.Delete(slices.Clone(e.Blocks), i, i+1), Lists: e.Lists})
	return b, nil
}

// UploadSource is the source of a list that an administrator brought: one for each issuer, by a digest of its name and key.
func UploadSource(digest string) string { return uploadedPrefix + digest }

// PutRevocationList makes a list, which the caller has verified, the one of its source. One with a lower number than the list that it would replace is
// refused: somebody is playing an old list back. The same list again changes nothing, and is told by false.
func (tx *Tx) PutRevocationList(ctx context.Context, authority string, l RevocationList) (bool, error) {
	e, err := tx.AuthorityEntry(authority)
	if err != nil {
		return false, err
	}
	if !l.Uploaded() && !slices.Contains(e.Authority.CRLURLs, l.Source) {
		return false, &Error{Code: ErrNotFound, Object: ObjectAuthority, Name: authority, Field: "crl_urls", Message: "no longer names " + quoted(l.Source), Hint: "nothing is left to do"}
	}
	lists := slices.Clone(e.Lists)
	i := slices.IndexFunc(lists, func(o *RevocationList) bool { return o.Source == l.Source })
	if i >= 0 {
		if bytes.Equal(lists[i].DER, l.DER) {
			return false, nil
		}
		if lists[i].Issuer == l.Issuer && !follows(lists[i], &l) {
			return false, &Error{Code: ErrInvalid, Object: ObjectAuthority, Name: authority, Field: "crl",
				Message: fmt.Sprintf("list number %s of %s would follow number %s of %s: numbers do not go back", l.Number, l.ThisUpdate.UTC().Format("2006-01-02 15:04:05Z"),
					lists[i].Number, lists[i].ThisUpdate.UTC().Format("2006-01-02 15:04:05Z")),
				Hint: "have the CA publish a list with a higher number; if its numbers were set back for a reason, remove the old list (authority crl NAME --remove SOURCE)"}
		}
		lists = slices.Delete(lists, i, i+1)
	}
	l.ThisUpdate, l.NextUpdate, l.Fetched = stored(l.ThisUpdate), stored(l.NextUpdate), tx.now
	if tx.ended {
		return false, errEnded
	}
	if _, err := tx.sql.ExecContext(ctx, deleteList, authority, l.Source); err != nil {
		return false, fmt.Errorf("storing a revocation list: %w", err)
	}
	err = tx.exec(ctx, "storing a revocation list", insertList, authority, l.Source, l.Issuer, l.Number, micros(l.ThisUpdate), micros(l.NextUpdate), int64(l.Entries), micros(l.Fetched), l.DER)
	if err != nil {
		return false, err
	}
	tx.draft.putAuthority(&AuthorityEntry{Authority: e.Authority, Mappings: e.Mappings, Blocks: e.Blocks, Lists: append(lists, &l)})
	return true, nil
}

// follows reports whether next may take the place of last: its number is higher, or it is the same and the list is no older.
func follows(last, next *RevocationList) bool {
	a, okA := new(big.Int).SetString(last.Number, 10)
	b, okB := new(big.Int).SetString(next.Number, 10)
	if !okA || !okB {
		return false
	}
	order := b.Cmp(a)
	return order > 0 || order == 0 && !next.ThisUpdate.Before(last.ThisUpdate)
}

// RemoveRevocationList forgets the list of a source. An authority that requires lists refuses what the list was for until there is another.
func (tx *Tx) RemoveRevocationList(ctx context.Context, authority, source string) error {
	e, err := tx.AuthorityEntry(authority)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(e.Lists, func(o *RevocationList) bool { return o.Source == source })
	if i < 0 {
		var have []string
		for _, l := range e.Lists {
			have = append(have, l.Source)
		}
		return &Error{Code: ErrNotFound, Object: ObjectAuthority, Name: authority, Field: "source", Message: "no list came from " + quoted(source),
			Hint: "there are: " + strings.Join(have, ", ")}
	}
	if err := tx.exec(ctx, "removing a revocation list", deleteList, authority, source); err != nil {
		return err
	}
	tx.draft.putAuthority(&AuthorityEntry{Authority: e.Authority, Mappings: e.Mappings, Blocks: e.Blocks, Lists: slices.Delete(slices.Clone(e.Lists), i, i+1)})
	return nil
}
