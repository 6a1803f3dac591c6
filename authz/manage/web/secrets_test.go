package web_test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/store"
)

// findSecrets searches everything that came back or was logged during a test.
// Values may stand in the answers that issued them, and nothing else may hold
// any, and salts and hashes may stand nowhere.
func (f *fixture) findSecrets(t testing.TB) {
	t.Helper()
	var texts []string
	for _, body := range f.answers {
		var issued struct {
			PasswordValue string `json:"passwordValue"`
		}
		if json.Unmarshal([]byte(body), &issued) == nil && issued.PasswordValue != "" {
			body = strings.Replace(body, issued.PasswordValue, "", 1)
		}
		if m := shownValue.FindStringSubmatch(body); m != nil {
			body = strings.Replace(body, m[1], "", 1)
		}
		texts = append(texts, body)
	}
	for _, entry := range f.logs.All() {
		texts = append(texts, fmt.Sprint(entry.Message, entry.ContextMap()))
	}
	log, err := f.tokens.AuditLog(context.Background(), 0, 10000)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range log {
		texts = append(texts, fmt.Sprintf("%+v", a))
	}
	all := strings.Join(texts, "\n")
	if token.Redact(all) != all {
		t.Error("a token's value stands where it must not")
	}
	err = f.tokens.All(context.Background(), func(k store.Token) error {
		for _, secret := range []store.Secret{k.Secret, k.Previous.Secret} {
			for _, part := range [][]byte{secret.Salt[:], secret.Hash[:]} {
				if secret == (store.Secret{}) {
					continue
				}
				for _, form := range []string{
					hex.EncodeToString(part), strings.ToUpper(hex.EncodeToString(part)),
					base64.RawStdEncoding.EncodeToString(part), base64.RawURLEncoding.EncodeToString(part),
					strings.Trim(fmt.Sprint(part), "[]"), strings.ReplaceAll(strings.Trim(fmt.Sprint(part), "[]"), " ", ","),
					string(part),
				} {
					if strings.Contains(all, form) {
						t.Errorf("a salt or hash of token %s was told", k.ID)
					}
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
