package backup

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/tenantgate/tenantgate/internal/database"
)

// appendRow writes one row as a JSON array: null, numbers, strings, and octets in base64. A text that is not UTF-8, which SQLite stores and JSON cannot
// say, is an array of one base64 string.
func appendRow(b []byte, columns []database.Column, values []any) ([]byte, error) {
	b = append(b, '[')
	for i, v := range values {
		if i > 0 {
			b = append(b, ',')
		}
		var err error
		if b, err = appendValue(b, columns[i].Kind, v); err != nil {
			return nil, fmt.Errorf("column %s: %w", columns[i].Name, err)
		}
	}
	return append(b, ']'), nil
}

func appendValue(b []byte, kind database.Kind, v any) ([]byte, error) {
	if v == nil {
		return append(b, "null"...), nil
	}
	switch kind {
	case database.Int:
		if n, ok := v.(int64); ok {
			return strconv.AppendInt(b, n, 10), nil
		}
	case database.Float:
		n, ok := v.(float64)
		if i, whole := v.(int64); whole {
			n, ok = float64(i), true
		}
		if ok && !math.IsNaN(n) && !math.IsInf(n, 0) {
			return strconv.AppendFloat(b, n, 'g', -1, 64), nil
		}
	case database.Text:
		s, ok := v.(string)
		if raw, octets := v.([]byte); octets {
			s, ok = string(raw), true
		}
		if ok && !utf8.ValidString(s) {
			return append(appendBase64(append(b, '['), []byte(s)), ']'), nil
		}
		if ok {
			quoted, err := json.Marshal(s)
			return append(b, quoted...), err
		}
	case database.Bytes:
		if raw, ok := v.([]byte); ok {
			return appendBase64(b, raw), nil
		}
		if s, ok := v.(string); ok {
			return appendBase64(b, []byte(s)), nil
		}
	}
	return nil, fmt.Errorf("the value is a %T and not a %s", v, kind)
}

func appendBase64(b, raw []byte) []byte {
	b = append(b, '"')
	b = base64.StdEncoding.AppendEncode(b, raw)
	return append(b, '"')
}

// parseRow undoes appendRow.
func parseRow(line []byte, columns []database.Column) ([]any, error) {
	var raw []json.RawMessage
	if err := json.Unmarshal(line, &raw); err != nil {
		return nil, damaged("a row is not JSON")
	}
	if len(raw) != len(columns) {
		return nil, damaged("a row has %d values for %d columns", len(raw), len(columns))
	}
	values := make([]any, len(raw))
	for i, r := range raw {
		v, err := parseValue(r, columns[i].Kind)
		if err != nil {
			return nil, damaged("column %s: %v", columns[i].Name, err)
		}
		values[i] = v
	}
	return values, nil
}

func parseValue(raw json.RawMessage, kind database.Kind) (any, error) {
	if bytes.Equal(raw, []byte("null")) {
		return nil, nil
	}
	switch kind {
	case database.Int:
		var n int64
		err := json.Unmarshal(raw, &n)
		return n, err
	case database.Float:
		var n float64
		err := json.Unmarshal(raw, &n)
		return n, err
	case database.Text:
		if raw[0] == '[' {
			var octets [][]byte
			if err := json.Unmarshal(raw, &octets); err != nil || len(octets) != 1 {
				return nil, fmt.Errorf("not a text")
			}
			return string(octets[0]), nil
		}
		var s string
		err := json.Unmarshal(raw, &s)
		return s, err
	case database.Bytes:
		octets := []byte{}
		err := json.Unmarshal(raw, &octets)
		return octets, err
	}
	return nil, fmt.Errorf("the kind %q is unknown", kind)
}
