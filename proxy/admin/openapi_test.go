package admin_test

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki/external"
	"github.com/tenantgate/tenantgate/proxy/admin"
	"github.com/tenantgate/tenantgate/proxy/check"
	"github.com/tenantgate/tenantgate/proxy/expiry"
	"github.com/tenantgate/tenantgate/proxy/migration"
	"github.com/tenantgate/tenantgate/proxy/notify"
	"github.com/tenantgate/tenantgate/proxy/record"
	"github.com/tenantgate/tenantgate/proxy/usage"
)

type openAPI struct {
	OpenAPI string
	Paths   map[string]map[string]struct {
		OperationID string
		Parameters  []struct{ Name, In string }
		Responses   map[string]any
	}
	Components struct {
		Schemas map[string]struct{ Properties map[string]any }
	}
}

func readOpenAPI(t *testing.T) openAPI {
	t.Helper()
	raw, err := build(t).client.OpenAPI(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var doc openAPI
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestOpenAPIHasEveryRouteAndNoOther(t *testing.T) {
	doc := readOpenAPI(t)
	if doc.OpenAPI != "3.1.0" {
		t.Errorf("version %q", doc.OpenAPI)
	}
	described := make(map[string][]string)
	ids := make(map[string]bool)
	for path, methods := range doc.Paths {
		for method, op := range methods {
			var query []string
			for _, p := range op.Parameters {
				if p.In == "query" {
					query = append(query, p.Name)
				}
			}
			described[strings.ToUpper(method)+" "+path] = query
			if op.OperationID == "" || ids[op.OperationID] {
				t.Errorf("%s %s: operationId %q is empty or used twice", method, path, op.OperationID)
			}
			ids[op.OperationID] = true
			if op.Responses["default"] == nil {
				t.Errorf("%s %s has no answer for what goes wrong", method, path)
			}
		}
	}
	served := admin.Endpoints()
	for route, query := range served {
		got, ok := described[route]
		if !ok {
			t.Errorf("%s is served and not described", route)
		}
		if !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(query))) {
			t.Errorf("%s: parameters %v described, %v served", route, got, query)
		}
	}
	for route := range described {
		if _, ok := served[route]; !ok {
			t.Errorf("%s is described and not served", route)
		}
	}
}

func TestOpenAPIHasEveryMemberAndNoOther(t *testing.T) {
	doc := readOpenAPI(t)
	for name, v := range map[string]any{
		"Tenant": identity.Tenant{}, "Route": identity.Route{}, "Identity": identity.Identity{}, "Credential": admin.Credential{},
		"Certificate": identity.Certificate{}, "AdministratorCertificate": admin.AdministratorCertificate{}, "CertificateRequest": admin.CertificateRequest{}, "IssuedCertificate": admin.IssuedCertificate{},
		"ACMEKeyRequest": admin.ACMEKeyRequest{}, "ACMEKey": admin.ACMEKey{}, "NewACMEKey": admin.NewACMEKey{},
		"EnrolmentTokenRequest": admin.EnrolmentTokenRequest{}, "EnrolmentToken": admin.EnrolmentToken{}, "NewEnrolmentToken": admin.NewEnrolmentToken{},
		"CredentialRequest": admin.CredentialRequest{}, "BackupRequest": admin.BackupRequest{}, "ExplainRequest": admin.ExplainRequest{}, "Explanation": admin.Explanation{}, "ExplainedStep": admin.ExplainedStep{}, "RevocationRequest": admin.RevocationRequest{}, "Revocations": admin.Revocations{},
		"RevocationList": admin.RevocationList{}, "Change": record.Change{}, "Report": record.Report{},
		"Registration": admin.Registration{}, "RegistrationCertificate": admin.RegistrationCertificate{},
		"CheckRequest": admin.CheckRequest{}, "CheckReport": admin.CheckReport{}, "CredentialCheck": admin.CredentialCheck{}, "CheckStep": check.Step{},
		"Claims": check.Claims{}, "Head": record.Head{}, "Check": admin.Check{}, "Status": admin.Status{},
		"CACertificate": admin.CACertificate{}, "CARequest": admin.CARequest{}, "CAInstallation": admin.CAInstallation{},
		"CARetirement": admin.CARetirement{}, "CARevocationRequest": admin.CARevocationRequest{}, "CAStatus": admin.CAStatus{}, "CANode": admin.CANode{},
		"RootHolder": admin.RootHolder{},
		"Login":      admin.Login{}, "LoginRequest": admin.LoginRequest{}, "LoginBack": admin.LoginBack{}, "LoginImport": admin.LoginImport{}, "ImportedLogin": admin.ImportedLogin{},
		"LoginImported": admin.LoginImported{}, "LoginProblem": admin.LoginProblem{}, "LoginFinding": identity.Finding{}, "LoginPolicy": identity.LoginPolicy{},
		"Ending": expiry.Item{}, "Policy": identity.Policy{}, "Review": admin.Review{}, "ReviewRequest": admin.ReviewRequest{}, "Uses": admin.Uses{},
		"CertificateUse": admin.CertificateUse{}, "RouteUse": admin.RouteUse{}, "Inactive": admin.Inactive{}, "Notification": notify.Queued{},
		"NotificationSubject": notify.Subject{}, "Notify": admin.Notify{}, "Delivery": notify.Delivery{},
		"Caller": usage.Caller{}, "CallerPart": usage.Part{}, "CallerRouteUse": usage.RouteUse{}, "DayUse": usage.DayUse{}, "CallerName": admin.CallerName{},
		"CallerMerge": admin.CallerMerge{}, "MoveRequest": admin.MoveRequest{}, "UndoRequest": admin.UndoRequest{}, "Move": identity.Move{}, "Look": identity.Look{},
		"MoveResult": admin.MoveResult{}, "Network": usage.Network{}, "NetworkList": admin.NetworkList{}, "UsageSettings": usage.Settings{},
		"PseudonymiseRequest": admin.PseudonymiseRequest{}, "PseudonymiseResult": admin.PseudonymiseResult{}, "ForgetRequest": admin.ForgetRequest{},
		"ForgetResult": admin.ForgetResult{}, "MigrationStatus": migration.Status{}, "MigrationLogin": migration.Login{}, "MigrationCaller": migration.Caller{},
		"Broken": migration.Broken{}, "BurnDownPoint": migration.Point{}, "MigrationPlan": migration.Plan{}, "MigrationStep": migration.Step{},
		"CredentialUse": admin.CredentialUse{}, "CredentialEnd": admin.CredentialEnd{},
		"AuthoritySettings": identity.Authority{}, "Authority": admin.Authority{}, "AuthorityCertificate": admin.AuthorityCertificate{}, "Mapping": identity.Mapping{},
		"Block": identity.Block{}, "AuthorityList": identity.RevocationList{}, "Fetch": identity.Fetch{}, "SeenCertificate": external.Seen{}, "BlockRequest": admin.BlockRequest{},
		"ListRequest": admin.ListRequest{}, "ChainRequest": admin.ChainRequest{}, "AuthorityCheck": admin.AuthorityCheck{}, "FetchResult": admin.FetchResult{},
		"CertificateVerdict": admin.CertificateVerdict{},
	} {
		got := slices.Sorted(maps.Keys(doc.Components.Schemas[name].Properties))
		if want := slices.Sorted(slices.Values(jsonNames(reflect.TypeOf(v)))); !slices.Equal(got, want) {
			t.Errorf("%s: %v described, the type has %v", name, got, want)
		}
	}
}

func jsonNames(t reflect.Type) []string {
	var names []string
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			names = append(names, jsonNames(f.Type)...)
		} else if name != "" && name != "-" {
			names = append(names, name)
		}
	}
	return names
}
