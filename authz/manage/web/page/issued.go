package page

import (
	"errors"
	"net/http"
	"strings"

	"github.com/tokengate/tokengate/authz/manage"
)

// issuedPage is the one page that holds a token's value.
type issuedPage struct {
	Token    tokenView
	Value    string
	Rotated  bool
	Pending  bool
	Examples []example
	Done     string // the address to go on at
}

// example is a program that uses a token.
type example struct {
	Title, Code string
}

// issued shows a token that was created or rotated, with its value.
func (s *Site) issued(r *Request, i manage.Issued, rotated bool) (Answer, error) {
	title := text("issued.title")
	switch {
	case rotated:
		title = text("issued.title.rotated")
	case i.Token.State == manage.StatePending:
		title = text("issued.title.pending")
	case !i.Token.Mine:
		title = text("issued.title.of", i.Token.Owner)
	}
	f, err := s.layout(r, title, tabOf(i.Token))
	if err != nil {
		// The value is told whatever happens now: nobody can tell it later.
		f = s.bareLayout(title)
	}
	p := issuedPage{
		Token: s.tokenView(i.Token, len(i.Token.Networks)), Value: i.Value.Reveal(), Rotated: rotated,
		Pending: i.Token.State == manage.StatePending, Done: s.url("token/" + i.Token.ID),
	}
	if i.Token.Owner != "" {
		p.Examples = examples(s.PublicURL, i.Token.Owner)
	}
	a, failed := render("issued", http.StatusOK, f, p)
	a.Token = i.Token.ID
	return a, errors.Join(err, failed)
}

// examples are programs that use a token of the owner's, ready but for the value:
// that belongs into the environment, and not into a program.
func examples(publicURL, owner string) []example {
	shell := strings.NewReplacer("JIRA", publicURL, "OWNER", strings.ReplaceAll(owner, "'", `'\''`))
	quoted := strings.NewReplacer("JIRA", publicURL, "OWNER", strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(owner))
	return []example{
		{text("example.curl.user"), shell.Replace(`curl -u 'OWNER':"$TOKEN" JIRA/rest/api/2/myself`)},
		{text("example.curl.bearer"), shell.Replace(`curl -H "Authorization: Bearer $TOKEN" JIRA/rest/api/2/myself`)},
		{text("example.python"), quoted.Replace(`import os, requests

jira = requests.Session()
jira.auth = ("OWNER", os.environ["TOKEN"])
me = jira.get("JIRA/rest/api/2/myself")
me.raise_for_status()
print(me.json()["name"])
`)},
		{text("example.fetch"), quoted.Replace(`const me = await fetch("JIRA/rest/api/2/myself", {
  headers: { Authorization: "Bearer " + token },
});
if (!me.ok) throw new Error((await me.json()).message);
console.log((await me.json()).name);
`)},
		{text("example.xhr"), quoted.Replace(`const request = new XMLHttpRequest();
request.open("GET", "JIRA/rest/api/2/myself");
request.setRequestHeader("Authorization", "Bearer " + token);
request.onload = () => console.log(JSON.parse(request.responseText).name);
request.send();
`)},
		{text("example.jquery"), quoted.Replace(`$.ajax({
  url: "JIRA/rest/api/2/myself",
  headers: { Authorization: "Bearer " + token },
}).done((me) => console.log(me.name));
`)},
		{text("example.java"), quoted.Replace(`import java.net.URI;
import java.net.http.*;

class Myself {
    public static void main(String[] args) throws Exception {
        var request = HttpRequest.newBuilder(URI.create("JIRA/rest/api/2/myself"))
            .header("Authorization", "Bearer " + System.getenv("TOKEN")).build();
        var me = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
        if (me.statusCode() != 200) throw new RuntimeException(me.body());
        System.out.println(me.body());
    }
}
`)},
	}
}
