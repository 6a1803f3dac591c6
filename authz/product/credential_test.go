package product_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/product"
	"github.com/tokengate/tokengate/authz/product/jira"
	"github.com/tokengate/tokengate/authz/product/wikitest"
)

// A Secret prints nowhere, not even inside an unexported field, where fmt ignores its
// methods.
func TestSecretPrintsAsPlaceholder(t *testing.T) {
	const value = "NDI0MjQyNDI0MjQyOsecretsecretsecretsecretsec"
	secret := product.NewSecret(value)
	hidden := struct {
		secret  product.Secret
		pointer *product.Secret
		list    []product.Secret
	}{secret, &secret, []product.Secret{secret}}
	all := []any{secret, &secret, hidden, &hidden, []any{secret}, map[string]product.Secret{"a": secret},
		product.UpstreamCredential{ID: "1", Value: secret}}
	var printed strings.Builder
	logger := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(&printed), zap.DebugLevel))
	standard := slog.New(slog.NewJSONHandler(&printed, nil))
	for _, v := range all {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T"} {
			fmt.Fprintf(&printed, verb+"\n", v)
		}
		text, err := json.Marshal(v)
		if err != nil {
			t.Error(err)
		}
		printed.Write(text)
		logger.Info("a", zap.Any("b", v), zap.Reflect("c", v))
		standard.Info("a", "b", v)
	}
	for _, form := range []string{value, fmt.Sprintf("%x", value), fmt.Sprintf("%X", value), fmt.Sprint([]byte(value))} {
		if strings.Contains(printed.String(), form) {
			t.Error("a Secret prints its value")
		}
	}
	if got := fmt.Sprint(secret, product.Secret{}); got != "[secret] [secret]" {
		t.Errorf("a Secret prints as %q", got)
	}
	if secret.Reveal() != value || secret.Bearer().Get("Authorization") != "Bearer "+value || (product.Secret{}).Reveal() != "" {
		t.Error("a Secret does not reveal its value")
	}
}

// Jira makes credentials; a product may make none.
func TestWhoMakesCredentials(t *testing.T) {
	for p, want := range map[*product.Product]bool{&jira.Product: true, &wikitest.Product: false} {
		client, err := p.Connect("http://127.0.0.1:1", nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Credentials != nil; got != want || got && p.Credentials(client) == nil {
			t.Errorf("%s makes credentials: %v", p.Title, got)
		}
	}
	if config.Products["jira"].Credentials == nil {
		t.Error("the registered Jira makes none")
	}
}
