package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"go.uber.org/zap"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/manage/web"
	"github.com/tokengate/tokengate/authz/manage/web/page"
	"github.com/tokengate/tokengate/authz/token"
)

// The marks of the pages in a browser, in milliseconds of server time and in bytes.
const (
	slowestOwnPage   = 50
	slowestAdminPage = 250
	largestPage      = 100_000
)

// visitor is somebody who opens the pages, in this process. Who it is follows from
// the cookie, without Jira.
type visitor struct {
	handler http.Handler
	now     time.Time // goes on with each visit, so that nobody has to wait
}

// The cookies of the two who visit.
const (
	ownerCookie = "JSESSIONID=owner"
	adminCookie = "JSESSIONID=admin"
)

// benchAdministrators is the group of the second.
const benchAdministrators = "jira-administrators"

func newVisitor(l *lister) *visitor {
	v := &visitor{now: decideNow}
	v.handler = web.New(web.Options{
		Manager: l.manager, View: func() authz.View { return l.view }, Usage: l.manager.Usage,
		PublicURL: "https://jira.example.com", Log: zap.NewNop(), Now: func() time.Time { return v.now },
		Identify: func(_ context.Context, c directory.Credential) (directory.User, error) {
			u := directory.User{Name: ownerOf(42), Active: true, Groups: directory.Groups{Known: true, Names: []string{jiraGroup}}}
			if c.Cookie == adminCookie {
				u.Name, u.Groups.Names = "administrator", []string{jiraGroup, benchAdministrators}
			}
			return u, nil
		},
	})
	return v
}

// visit opens a page and returns how long the server took, in milliseconds, and how
// large the page is.
func (v *visitor) visit(cookie, below string) (took float64, bytes int, err error) {
	v.now = v.now.Add(time.Second)
	request := httptest.NewRequest(http.MethodGet, page.Path+below, nil)
	request.Header.Set("Cookie", cookie)
	request.Header.Set(authz.ClientIPHeader, "10.1.2.3")
	answer := httptest.NewRecorder()
	began := time.Now()
	v.handler.ServeHTTP(answer, request)
	took = time.Since(began).Seconds() * 1000
	if answer.Code != http.StatusOK {
		return 0, 0, fmt.Errorf("GET %s: status %d: %s", page.Path+below, answer.Code, token.Redact(answer.Body.String()))
	}
	return took, answer.Body.Len(), nil
}

// sitePages are the pages that are measured, by whom they are opened.
func sitePages(id string) map[string][]string {
	return map[string][]string{
		ownerCookie: {"", "/new", "/token/" + id, "/token/" + id + "/rotate", "/token/" + id + "/edit", "/explain"},
		adminCookie: {
			"/tokens", "/tokens?name=2424", "/tokens?name=report&userPart=user&sort=name&order=desc", "/tokens?state=active&unusedSince=14d&sort=used",
			"/tokens?user=" + ownerOf(42), "/pending", "/insights", "/audit", "/settings", "/token/" + id,
		},
	}
}

// measureSite times the pages of an owner and of an administrator.
func (l *lister) measureSite(ctx context.Context, rounds int, id string, r *report) error {
	v := newVisitor(l)
	at := " at " + number(float64(l.size)) + " tokens"
	s := section{Row: "e", Columns: []string{"page", "ms", "KB"}, Title: "The page in the browser" + at}
	var largest int
	for _, who := range []struct {
		cookie, name string
		most         float64
	}{{ownerCookie, "an owner's", slowestOwnPage}, {adminCookie, "an administrator's", slowestAdminPage}} {
		pages := sitePages(id)[who.cookie]
		sizes := make([]int, len(pages))
		var contenders []contender[float64]
		for i, below := range pages {
			contenders = append(contenders, contender[float64]{below, func(context.Context) (took float64, err error) {
				took, sizes[i], err = v.visit(who.cookie, below)
				return took, err
			}})
		}
		results, err := alternate(ctx, rounds, contenders)
		if err != nil {
			return err
		}
		var slowest spread
		for i, below := range pages {
			took := spreadOf(results[i])
			if took.Median > slowest.Median {
				slowest = took
			}
			largest = max(largest, sizes[i])
			name := who.name + " " + page.Path + below
			s.Lines = append(s.Lines, []string{name, s.cell("page, "+name, "ms", took), fmt.Sprintf("%.1f", float64(sizes[i])/1000)})
		}
		r.atMost("page in the browser"+at+", "+who.name+" slowest", who.most, "ms", slowest)
	}
	bytes := float64(largest) / 1000
	r.atMost("page in the browser"+at+", the largest", largestPage/1000, "KB", spread{bytes, bytes, bytes})
	s.Notes = append(s.Notes, "The server's time, from a request that has been read to a page that is ready to be sent, in this process; who is asking is known already. A page lists 50 tokens.")
	r.Sections = append(r.Sections, s)
	return nil
}
