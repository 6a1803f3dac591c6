package page

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strings"
)

// ContentType is that of every page.
const ContentType = "text/html;charset=UTF-8"

//go:embed templates assets
var files embed.FS

// templates are the pages by their names, each with the frame and the parts that
// pages have in common.
var templates = parseTemplates()

func parseTemplates() map[string]*template.Template {
	common := template.Must(template.New("layout.html").Funcs(functions).ParseFS(files, "templates/layout.html", "templates/parts.html"))
	all := make(map[string]*template.Template)
	names, err := fs.Glob(files, "templates/*.html")
	if err != nil {
		panic(err) // the pattern is right
	}
	for _, name := range names {
		short := strings.TrimSuffix(path.Base(name), ".html")
		if short != "layout" && short != "parts" {
			all[short] = template.Must(template.Must(common.Clone()).ParseFS(files, name))
		}
	}
	return all
}

// functions are what templates call beside their data.
var functions = template.FuncMap{
	"t":       text,
	"n":       count[int],
	"number":  number[int],
	"uses":    number[uint64],
	"example": func(i int) string { return fmt.Sprint("example-", i) },
	"visible": visible,
	"brief":   brief,
	"spans":   spanChoices,
	"asset":   func(name string) string { return "assets/" + assetNames[name] },
}

// assets are style, script and icon by the names under which they are served: with
// a hash of the content, so that they may be kept for ever.
var assets, assetNames = readAssets()

func readAssets() (byName map[string][]byte, names map[string]string) {
	byName, names = make(map[string][]byte), make(map[string]string)
	entries, err := files.ReadDir("assets")
	if err != nil {
		panic(err) // it is embedded
	}
	for _, entry := range entries {
		body, err := files.ReadFile("assets/" + entry.Name())
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(body)
		base, ending, _ := strings.Cut(entry.Name(), ".")
		name := base + "-" + base64.RawURLEncoding.EncodeToString(sum[:9]) + "." + ending
		byName["assets/"+name], names[entry.Name()] = body, name
	}
	return byName, names
}

// Asset returns a style sheet, script or icon by its path below Path. It is for
// everybody.
func Asset(below string) (body []byte, contentType string, ok bool) {
	body, ok = assets[below]
	return body, map[string]string{
		".css": "text/css;charset=UTF-8",
		".js":  "text/javascript;charset=UTF-8",
		".svg": "image/svg+xml",
	}[path.Ext(below)], ok
}

// pageData is what a template is given.
type pageData struct {
	Layout *layout
	Page   any
}

// render makes a page, or returns an error that no request should lead to.
func render(name string, status int, f *layout, page any) (Answer, error) {
	f.ScriptNonce = rand.Text()
	var body bytes.Buffer
	if err := templates[name].ExecuteTemplate(&body, "layout.html", pageData{f, page}); err != nil {
		return Answer{}, fmt.Errorf("show the page %s: %w", name, err)
	}
	return Answer{Status: status, Body: body.Bytes(), Headers: headers(f.ScriptNonce)}, nil
}

// headers say to a browser what a page may do: load its own style and script, which
// a nonce tells from what somebody might have put into Jira as an attachment, and
// nothing else. Sending a form needs the Origin header, which no-referrer would
// take away.
// Source: Content Security Policy Level 3; Fetch, 3.1 ("serializing a request origin").
func headers(nonce string) map[string]string {
	return map[string]string{
		"Content-Security-Policy": "default-src 'none'; script-src 'nonce-" + nonce + "'; style-src 'nonce-" + nonce + "'; " +
			"img-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
		"X-Frame-Options":    "DENY",
		"Referrer-Policy":    "same-origin",
		"Permissions-Policy": "clipboard-write=(self)",
	}
}

// ok is render for what went well.
func ok(name string, f *layout, page any) (Answer, error) {
	return render(name, http.StatusOK, f, page)
}
