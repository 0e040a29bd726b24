package usage

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"unicode"
)

// Network is a range of addresses that has a name.
type Network struct {
	CIDR netip.Prefix `json:"cidr"`
	Name string       `json:"name"`
}

// Networks are named networks, the narrowest first.
type Networks []Network

// Bounds of a list of networks.
const (
	maxNetworks    = 10_000
	maxNetworkName = 64
)

// ParseNetworks reads a list: one network a line, its range and then its name, such as "10.1.0.0/16 plant-a". Empty lines and what follows a # do not count.
// An error names the line.
func ParseNetworks(in io.Reader) (Networks, error) {
	var list Networks
	lines := bufio.NewScanner(in)
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		text = strings.TrimSpace(text)
		if text == "" {
			continue
		}
		cidr, name, _ := strings.Cut(strings.ReplaceAll(text, "\t", " "), " ")
		p, err := netip.ParsePrefix(cidr)
		if err != nil {
			return nil, &Error{Code: "invalid", Message: fmt.Sprintf("line %d: %q is not a network", n, cidr), Hint: "write lines like: 10.1.0.0/16 plant-a"}
		}
		list = append(list, Network{p, strings.TrimSpace(name)})
		if err := list[len(list)-1].check(); err != nil {
			err.Message = fmt.Sprintf("line %d: %s", n, err.Message)
			return nil, err
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading networks: %w", err)
	}
	return list, list.Check()
}

func (n *Network) check() *Error {
	const hint = "write lines like: 10.1.0.0/16 plant-a"
	switch {
	case !n.CIDR.IsValid():
		return &Error{Code: "invalid", Message: "a network has no range", Hint: hint}
	case n.CIDR.Masked() != n.CIDR:
		return &Error{Code: "invalid", Message: n.CIDR.String() + " has bits behind its mask", Hint: "write " + n.CIDR.Masked().String()}
	case n.Name == "" || len(n.Name) > maxNetworkName || strings.ContainsFunc(n.Name, unicode.IsControl) || !validText(n.Name):
		return &Error{Code: "invalid", Message: n.CIDR.String() + " has no name, or one that is longer than 64 octets or holds control characters", Hint: hint}
	}
	return nil
}

func validText(s string) bool { return strings.ToValidUTF8(s, "") == s }

// Check refuses a list that cannot be stored and sorts one that can.
func (l Networks) Check() error {
	if len(l) > maxNetworks {
		return &Error{Code: "invalid", Message: fmt.Sprintf("%d networks are too many", len(l)), Hint: "give at most 10000"}
	}
	for i := range l {
		if err := l[i].check(); err != nil {
			return err
		}
	}
	slices.SortFunc(l, func(a, b Network) int {
		if a.CIDR.Bits() != b.CIDR.Bits() {
			return b.CIDR.Bits() - a.CIDR.Bits()
		}
		return a.CIDR.Addr().Compare(b.CIDR.Addr())
	})
	for i := range l {
		if i > 0 && l[i-1].CIDR == l[i].CIDR {
			return &Error{Code: "invalid", Message: l[i].CIDR.String() + " is there twice", Hint: "leave one of the two"}
		}
	}
	return nil
}

// Name is the name of the narrowest network that an address is in, "" for none.
func (l Networks) Name(a netip.Addr) string {
	a = a.Unmap().WithZone("")
	for i := range l {
		if l[i].CIDR.Contains(a) {
			return l[i].Name
		}
	}
	return ""
}

// OfSource is Name for what [SourceOf] says.
func (l Networks) OfSource(source string) string {
	a, err := netip.ParseAddr(source)
	if p, perr := netip.ParsePrefix(source); err != nil && perr == nil {
		a, err = p.Addr(), nil
	}
	if err != nil {
		return ""
	}
	return l.Name(a)
}

// ReadNetworks reads the list, the narrowest first.
func ReadNetworks(ctx context.Context, q querier) (Networks, error) {
	rows, err := q.QueryContext(ctx, `SELECT cidr, name FROM usage_networks`)
	if err != nil {
		return nil, fmt.Errorf("reading networks: %w", err)
	}
	defer func() { _ = rows.Close() }()
	list := Networks{}
	for rows.Next() {
		var cidr string
		var n Network
		if err := rows.Scan(&cidr, &n.Name); err != nil {
			return nil, fmt.Errorf("reading networks: %w", err)
		}
		if n.CIDR, err = netip.ParsePrefix(cidr); err != nil {
			return nil, fmt.Errorf("reading networks: %w", err)
		}
		list = append(list, n)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("reading networks: %w", err)
	}
	return list, list.Check()
}

// SetNetworks replaces the list.
func SetNetworks(ctx context.Context, tx *sql.Tx, list Networks) error {
	if err := list.Check(); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM usage_networks`); err != nil {
		return fmt.Errorf("storing networks: %w", err)
	}
	for chunk := range slices.Chunk(list, batchRows) {
		args := make([]any, 0, 2*len(chunk))
		for _, n := range chunk {
			args = append(args, n.CIDR.String(), n.Name)
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO usage_networks (cidr, name) VALUES `+placeholders(len(chunk), 2), args...); err != nil {
			return fmt.Errorf("storing networks: %w", err)
		}
	}
	return nil
}
