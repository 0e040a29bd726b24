package token

import (
	"maps"
	"reflect"
	"slices"
	"strings"
)

// keyClient is the object of a document that describes an OAuth client.
type keyClient struct {
	member
	integration bool   // it stands in "oauth", or looks as if it did
	outer       member // what it stands in, where a service names its own address
}

// findClient finds the one client of a document, as itself or as one of the bindings in VCAP_SERVICES.
func findClient(root member, binding string) (keyClient, error) {
	found, err := clients(root, member{}, 0)
	if err != nil {
		return keyClient{}, err
	}
	if len(found) == 0 {
		bindings, err := vcapBindings(root)
		if err != nil {
			return keyClient{}, err
		}
		if len(bindings) > 0 {
			return chooseBinding(bindings, binding)
		}
		return keyClient{}, &KeyError{Field: "clientid", Problem: "it is missing, and nothing else in the document looks like a service key", Hint: hintFor(root)}
	}
	if binding != "" {
		return keyClient{}, &KeyError{Problem: "it holds one key and no bindings to choose from"}
	}
	return oneClient(found)
}

// hintFor looks for the slips that are made.
func hintFor(root member) string {
	for name := range root.fields {
		if strings.EqualFold(strings.ReplaceAll(name, "_", ""), "clientid") {
			return `the members of a service key are written in small letters, like "clientid"`
		}
	}
	return `expected a JSON object with "oauth", "credentials", "uaa", "clientid" or the bindings of VCAP_SERVICES`
}

// clients collects what looks like a client, from the outside in: services nest theirs in "credentials", "oauth" and "uaa".
func clients(m, outer member, depth int) ([]keyClient, error) {
	var found []keyClient
	if depth > 3 {
		return nil, nil
	}
	oauth, there, err := m.object("oauth")
	if err != nil {
		return nil, err
	}
	if there {
		found = append(found, keyClient{oauth, true, m})
	}
	self := keyClient{m, m.has("tokenurl") && !m.has("xsappname"), outer}
	if m.has("clientid") {
		found = append(found, self)
	}
	for _, name := range []string{"uaa", "credentials"} {
		inner, there, err := m.object(name)
		if err != nil {
			return nil, err
		}
		if !there {
			continue
		}
		more, err := clients(inner, m, depth+1)
		if err != nil {
			return nil, err
		}
		found = append(found, more...)
	}
	if len(found) == 0 && m.has("clientsecret", "xsappname", "uaadomain", "certificate") {
		found = append(found, self) // to say what it lacks
	}
	return found, nil
}

// oneClient refuses a document that describes several clients: which one is meant it does not say.
func oneClient(found []keyClient) (keyClient, error) {
	for _, other := range found[1:] {
		for _, name := range []string{"clientid", "clientsecret", "certificate", "key"} {
			if !reflect.DeepEqual(found[0].fields[name], other.fields[name]) {
				return keyClient{}, &KeyError{Field: found[0].at("clientid") + ", " + other.at("clientid"), Problem: "it describes two clients",
					Hint: "remove the one that is not meant"}
			}
		}
	}
	return found[0], nil
}

// vcapBinding is one binding in a VCAP_SERVICES document, {"xsuaa": [{"name": ..., "credentials": {...}}]}.
type vcapBinding struct {
	label, name string
	client      []keyClient
}

func (b vcapBinding) String() string { return b.label + "/" + b.name }

func (b vcapBinding) called(name string) bool {
	return name == b.String() || name == b.name || name == b.label
}

// vcapBindings lists the bindings that hold a client.
func vcapBindings(root member) ([]vcapBinding, error) {
	if inner, there, err := root.object("VCAP_SERVICES"); err != nil {
		return nil, err
	} else if there {
		root = inner
	}
	var bindings []vcapBinding
	for _, label := range slices.Sorted(maps.Keys(root.fields)) {
		list, _ := root.fields[label].([]any)
		for _, item := range list {
			fields, _ := item.(map[string]any)
			at := root.at("(a service)")
			if word(label) {
				at = root.at(label)
			}
			b, err := readBinding(member{at, fields}, label)
			if err != nil {
				return nil, err
			}
			if len(b.client) > 0 {
				bindings = append(bindings, b)
			}
		}
	}
	return bindings, nil
}

func readBinding(m member, label string) (vcapBinding, error) {
	credentials, ok := m.fields["credentials"].(map[string]any)
	if !ok {
		return vcapBinding{}, nil // a user-provided service may have anything
	}
	b := vcapBinding{label: label, name: "(without a name)"}
	for _, member := range []string{"name", "instance_name", "binding_name"} {
		if name, ok := m.fields[member].(string); ok && name != "" {
			b.name = name
			break
		}
	}
	var err error
	b.client, err = clients(member{m.at("credentials"), credentials}, member{}, 1)
	return b, err
}

// chooseBinding takes the only one, or the one that is asked for.
func chooseBinding(bindings []vcapBinding, name string) (keyClient, error) {
	if name != "" {
		all := bindings
		bindings = slices.DeleteFunc(slices.Clone(all), func(b vcapBinding) bool { return !b.called(name) })
		if len(bindings) == 0 {
			return keyClient{}, &KeyError{Field: "VCAP_SERVICES", Problem: "it has no such binding", Hint: "choose one: " + bindingNames(all), Mends: "Binding"}
		}
	}
	if len(bindings) > 1 {
		return keyClient{}, &KeyError{Field: "VCAP_SERVICES", Problem: "it holds several bindings", Hint: "choose one: " + bindingNames(bindings), Mends: "Binding"}
	}
	return oneClient(bindings[0].client)
}

func bindingNames(bindings []vcapBinding) string {
	names := make([]string, len(bindings))
	for i, b := range bindings {
		names[i] = b.String()
		if !word(b.label) || !word(b.name) {
			names[i] = "(one whose name is not shown)"
		}
	}
	return strings.Join(names, ", ")
}
