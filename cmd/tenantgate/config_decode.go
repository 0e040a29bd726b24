package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// loadConfig reads and validates the file and makes its paths absolute. Every error names the file
// and, where there is one, the line, and counts as a usage error.
func loadConfig(path string) (*Config, error) {
	b, err := readConfigFile(path)
	if err != nil {
		return nil, &failure{
			err:   fmt.Errorf("reading configuration: %w", err),
			hint:  unreadable(err, "tenantgate init DIR makes one; --config or TENANTGATE_CONFIG name it"),
			usage: true,
		}
	}
	cfg, err := decodeConfig(path, b)
	if err != nil {
		return nil, err
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("finding the directory of %s: %w", path, err)
	}
	cfg.resolve(filepath.Dir(abs))
	return cfg, nil
}

// unreadable is the hint for a file that cannot be read: what to do when it is not there, unless it is and only closed to this user.
func unreadable(err error, absent string) string {
	if errors.Is(err, fs.ErrPermission) {
		return "run the command as the server's user, sudo -u tenantgate tenantgate ..., or let this user read the file"
	}
	return absent
}

// readConfigFile reads a file of at most maxInput bytes, without the byte order mark that some editors put before the text.
func readConfigFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := readAtMost(f, maxInput)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return bytes.TrimPrefix(b, []byte("\uFEFF")), nil
}

// decodeConfig decodes and validates a configuration; name is how errors call it. Keys that are
// missing keep their defaults, unknown keys and second documents are refused. So is an empty text, though not one of comments: a file that
// an editor or a full disk has emptied would put every default in force.
func decodeConfig(name string, b []byte) (*Config, error) {
	cfg := defaultConfig()
	if len(bytes.TrimSpace(b)) == 0 {
		return nil, configError(name, errors.New("the file is empty"), nil)
	}
	file, err := parser.ParseBytes(b, 0)
	if err != nil {
		return nil, configError(name, err, nil)
	}
	root, err := onlyDocument(file)
	if err != nil {
		return nil, configError(name, err, nil)
	}
	if root == nil {
		return &cfg, nil
	}
	keys := keyWalk{lines: map[string]int{}}
	keys.walk(root, reflect.TypeFor[Config](), "")
	if keys.unknown != nil {
		return nil, keys.unknown.failure(name)
	}
	if err := yaml.NewDecoder(bytes.NewReader(b), yaml.Strict()).Decode(&cfg); err != nil {
		return nil, configError(name, err, keys.lines)
	}
	if err := cfg.validate(); err != nil {
		return nil, configError(name, err, keys.lines)
	}
	return &cfg, nil
}

// onlyDocument returns the file's one document, nil when there is none. YAML parsers silently ignore
// a second document, and with it half of what the author meant.
func onlyDocument(file *ast.File) (ast.Node, error) {
	var root ast.Node
	for _, doc := range file.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.CommentType || doc.Body.Type() == ast.NullType {
			continue
		}
		if root != nil {
			return nil, &nodeError{doc.Body, errors.New("a second YAML document begins here; a configuration is one document")}
		}
		root = doc.Body
	}
	if root == nil {
		return nil, nil
	}
	if root.Type() != ast.MappingType && root.Type() != ast.MappingValueType {
		return nil, &nodeError{root, errors.New("expected keys and values")}
	}
	return root, nil
}

// configError turns any error about the text into one that names file and line.
func configError(name string, err error, lines map[string]int) error {
	line, message := 0, err.Error()
	var (
		node    *nodeError
		invalid *invalidKey
		library yaml.Error
	)
	switch {
	case errors.As(err, &node):
		line = node.node.GetToken().Position.Line
	case errors.As(err, &invalid):
		line = lines[invalid.key]
	case errors.As(err, &library):
		message = library.GetMessage()
		if t := library.GetToken(); t != nil {
			line = t.Position.Line
		}
		if key, ok := keyAt(line, lines); ok && isTypeError(err) {
			message = key + ": expected " + expected(key)
		}
	}
	if line > 0 {
		name = fmt.Sprintf("%s:%d", name, line)
	}
	return &failure{
		err:   fmt.Errorf("%s: %s", name, message),
		hint:  "tenantgate config example prints every key with its meaning",
		usage: true,
	}
}

// isTypeError reports whether a value is not of its key's type. The library's messages speak of Go's types.
func isTypeError(err error) bool {
	var (
		wrong    *yaml.TypeError
		overflow *yaml.OverflowError
		node     *yaml.UnexpectedNodeTypeError
	)
	return errors.As(err, &wrong) || errors.As(err, &overflow) || errors.As(err, &node)
}

// keyAt is the innermost key that stands in the line or, for an item of a list, last before it.
func keyAt(line int, lines map[string]int) (string, bool) {
	best, found := "", false
	for key, at := range lines {
		if at > line || found && (at < lines[best] || at == lines[best] && len(key) < len(best)) {
			continue
		}
		best, found = key, true
	}
	return best, found
}

// expected says what kind of value a known key takes.
func expected(key string) string {
	t := reflect.TypeFor[Config]()
	for name := range strings.SplitSeq(key, ".") {
		name, _, item := strings.Cut(name, "[")
		for f := range t.Fields() {
			if f.Tag.Get("yaml") == name {
				t = f.Type
				break
			}
		}
		if item {
			t = t.Elem()
		}
	}
	switch t.Kind() {
	case reflect.Struct:
		return "a section with keys of its own"
	case reflect.Slice:
		return "a list, such as [a, b]"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64:
		return "a whole number of a sensible size"
	default:
		return "a text"
	}
}

// keyWalk compares the keys of a document with the fields of a struct, before decoding, because the
// decoder cannot say which key was meant.
type keyWalk struct {
	lines   map[string]int // where each known key stands, by dotted path
	unknown *unknownKey    // the first unknown one
}

type unknownKey struct {
	path    string
	line    int
	nearest string
}

func (u *unknownKey) failure(name string) error {
	hint := "tenantgate config example prints every key with its meaning"
	if u.nearest != "" {
		hint = "did you mean " + u.nearest + "?"
	}
	return &failure{err: fmt.Errorf("%s:%d: unknown key %s", name, u.line, u.path), hint: hint, usage: true}
}

func (k *keyWalk) walk(node ast.Node, t reflect.Type, prefix string) {
	var values []*ast.MappingValueNode
	switch n := node.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	default:
		return
	}
	known := map[string]reflect.Type{}
	for f := range t.Fields() {
		known[f.Tag.Get("yaml")] = f.Type
	}
	for _, v := range values {
		token := v.Key.GetToken()
		path := prefix + token.Value
		field, ok := known[token.Value]
		if !ok {
			if k.unknown == nil {
				k.unknown = &unknownKey{path, token.Position.Line, nearestKey(prefix, token.Value)}
			}
			continue
		}
		k.lines[path] = token.Position.Line
		switch items, isList := v.Value.(*ast.SequenceNode); {
		case field.Kind() == reflect.Struct:
			k.walk(v.Value, field, path+".")
		case isList && field.Kind() == reflect.Slice && field.Elem().Kind() == reflect.Struct:
			for i, item := range items.Values {
				k.lines[fmt.Sprintf("%s[%d]", path, i)] = item.GetToken().Position.Line
				k.walk(item, field.Elem(), fmt.Sprintf("%s[%d].", path, i))
			}
		}
	}
}

var item = regexp.MustCompile(`\[\d+\]`)

// nearestKey suggests the known key most like the unknown one: of the same section first, then of any
// section (a key one level too high or too low). "" when nothing is near.
func nearestKey(prefix, key string) string {
	best, bestDistance := "", len(key)/3+2
	prefix = item.ReplaceAllString(prefix, "[]")
	for _, path := range configKeys(reflect.TypeFor[Config](), "") {
		section, name := "", path
		if i := strings.LastIndexByte(path, '.'); i >= 0 {
			section, name = path[:i+1], path[i+1:]
		}
		distance := editDistance(strings.ToLower(strings.ReplaceAll(key, "-", "_")), name)
		if section != prefix {
			distance++
		}
		if distance < bestDistance {
			best, bestDistance = path, distance
		}
	}
	return best
}

// configKeys lists every key of t, by dotted path, sections included.
func configKeys(t reflect.Type, prefix string) []string {
	var keys []string
	for f := range t.Fields() {
		path := prefix + f.Tag.Get("yaml")
		keys = append(keys, path)
		if f.Type.Kind() == reflect.Struct {
			keys = append(keys, configKeys(f.Type, path+".")...)
		}
		if f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct {
			keys = append(keys, configKeys(f.Type.Elem(), path+"[].")...)
		}
	}
	return keys
}

// editDistance is the Levenshtein distance of two short words.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			above := row[j+1]
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(above+1, row[j]+1, diagonal+cost)
			diagonal = above
		}
	}
	return row[len(b)]
}
