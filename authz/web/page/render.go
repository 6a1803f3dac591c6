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
	"slices"
	"strings"

	"github.com/tokengate/tokengate/authz/manage"
)

// ContentType is the content type of every page.
const ContentType = "text/html;charset=UTF-8"

//go:embed templates assets
var files embed.FS

// templates holds each page by name, together with the layout and the shared parts.
var templates = parseTemplates()

func parseTemplates() map[string]*template.Template {
	functions := template.FuncMap{
		"text":    text,
		"plural":  plural,
		"number":  number,
		"example": func(i int) string { return fmt.Sprint("example-", i) },
		"visible": visible,
		"brief":   brief,
		"spans":   spanChoices,
		"asset":   func(name string) string { return "assets/" + assetNames[name] },
	}
	common := template.Must(template.New("layout.html").Funcs(functions).ParseFS(files, "templates/layout.html", "templates/parts.html"))
	all := make(map[string]*template.Template)
	names, err := fs.Glob(files, "templates/*.html")
	if err != nil {
		panic(err) // the pattern is valid
	}
	for _, name := range names {
		short := strings.TrimSuffix(path.Base(name), ".html")
		if short != "layout" && short != "parts" {
			all[short] = template.Must(template.Must(common.Clone()).ParseFS(files, name))
		}
	}
	return all
}

// assets holds the style sheet, script and icon by the path they are served at, which
// contains a hash of the content so that browsers can cache them indefinitely;
// assetNames maps their file names to those paths.
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

// Asset returns a style sheet, script or icon by its path below config.PagePath. Assets are public.
func Asset(below string) (body []byte, contentType string, ok bool) {
	body, ok = assets[below]
	return body, map[string]string{
		".css": "text/css;charset=UTF-8",
		".js":  "text/javascript;charset=UTF-8",
		".svg": "image/svg+xml",
	}[path.Ext(below)], ok
}

// layout is what every page shows around its content.
type layout struct {
	Base        string     // the address of the pages
	Home        string     // the address of the application
	Product     string     // its title
	ScriptNonce string     // of the Content-Security-Policy
	Me          *manage.Me // nil: an unidentified caller, who sees no tabs
	Tab         string     // the path of the current tab
	Waiting     int        // tokens waiting for approval, if the caller is an administrator
	Connection  manage.Connection
	Notice      string // what the form that led here did
	Problem     string // why the request was refused
}

// layout returns the layout of a page for the caller. tab is the path of the page's tab.
func (s *Site) layout(r *Request, tab string) (*layout, error) {
	me, err := s.Manager.Me(r.HTTP.Context(), r.Caller)
	if err != nil {
		return nil, err
	}
	l := s.bareLayout()
	l.Me, l.Tab = &me, tab
	if l.Connection, err = s.Manager.Connection(r.HTTP.Context(), r.Caller); err != nil {
		return nil, err
	}
	if me.Administrator {
		if l.Waiting, err = s.Manager.Count(r.HTTP.Context(), r.Caller, manage.Query{State: manage.StatePending}); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// bareLayout returns the layout of a page for an unidentified caller.
func (s *Site) bareLayout() *layout {
	return &layout{Base: s.url(""), Home: s.ContextPath + "/", Product: s.product().Title}
}

// noticeParameters are the parameters of an address that tell what a form did.
var noticeParameters = []string{"done", "token", "proof"}

// noticed returns parameters that tell what was done, to a token or to none, with a
// proof that one of the servers said so.
func (s *Site) noticed(r *Request, word, id string) []string {
	pairs := []string{"done", word, "proof", s.nonces.seal(r.Caller, word, id)}
	if id != "" {
		pairs = append(pairs, "token", id)
	}
	return pairs
}

// notice sets the notice that the address asks for, if its proof is valid.
func (s *Site) notice(l *layout, r *Request) {
	word, id := r.Query["done"], r.Query["token"]
	if !slices.Contains(notices, word) || !s.nonces.sealed(r.Query["proof"], r.Caller, word, id) {
		return
	}
	name := id
	if id != "" {
		if found, err := s.Manager.Get(r.HTTP.Context(), r.Caller, id); err == nil { // otherwise it was pruned
			name = visible(found.Name)
		}
	}
	l.Notice = text("done."+word, name)
}

// notices are the words for what a form can do. Those of an action are about a token.
var notices = func() []string {
	all := []string{"changed", "unchanged", "all", "connected", "disconnected", "set", "accepted", "broken", "removed"}
	for _, a := range actions {
		all = append(all, a.done)
	}
	return all
}()

// pageData is the data of a template.
type pageData struct {
	Layout *layout
	Page   any
}

// render executes the template of a page. It fails only if a template is wrong.
func render(name string, status int, l *layout, page any) (Answer, error) {
	l.ScriptNonce = rand.Text()
	var body bytes.Buffer
	if err := templates[name].ExecuteTemplate(&body, "layout.html", pageData{l, page}); err != nil {
		return Answer{}, fmt.Errorf("render the page %s: %w", name, err)
	}
	return Answer{Status: status, Body: body.Bytes(), Headers: headers(l.ScriptNonce)}, nil
}

// ok renders a page with status 200.
func ok(name string, l *layout, page any) (Answer, error) {
	return render(name, http.StatusOK, l, page)
}

// headers restrict a page to its own style sheet and script, identified by a nonce
// because users can attach files in the application, which has the same origin. The referrer
// policy is not no-referrer, because that would remove the Origin header from forms.
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
