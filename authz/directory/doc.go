// Package directory knows people: who exists, who is active, who belongs to
// which group, and who is calling.
//
// A Directory keeps the last good Snapshot of a Source and refreshes it on a
// timer. A Snapshot is built aside and swapped whole, so that whatever fails
// midway leaves the one before in force; it says how long decisions may rely
// on it. Nothing here is on the way of a request: whoever decides is given
// flags that were made from a Snapshot. There are three sources:
//
//   - None: whoever is asked for exists as asked, and is in no group.
//   - File: a YAML file that lists everybody.
//   - Jira: Jira's REST API, asked with a service credential.
//
// What Jira said is saved in a file and restored after a restart, with its age
// (see Directory.Save), so that tokens need not wait for the first refresh.
//
// Callers finds out who sent a request, whatever the source is, by handing the
// request's own cookie or password to Jira. It takes care that nobody can lock
// a user out of Jira by way of it, as far as its own doc says.
//
// # What Jira is asked
//
// Members of the groups that the configuration names come from
// GET /rest/api/2/group/member in pages of 50. Owners of tokens who are in none
// of these groups come from GET /rest/api/2/user/list (Jira 11 and 10.3), else
// from GET /rest/api/2/user/search, which gives all users up to Jira 8 and 9
// or the first 1000 of them (JRASERVER-65089), and the first 100 from Jira 10
// on (JRASERVER-78660). Who is not among these is asked for one by one, at
// GET /rest/api/2/user. All of it stays within 10 requests a second, one after
// the other; of them look-ups of users while somebody waits (Directory.Lookup)
// may take 2 a second. 10,000 owners take
//
//   - 205 requests, 20 seconds, if they are in a group,
//   - 10 requests if they are in none and Jira has user/list,
//   - 11 requests if they are in none and user/search gives everybody,
//   - 600 requests a minute otherwise, which reach everybody in 17 minutes: there
//     an answer has to be good for longer than the default, or the owners have
//     to be in a group that the configuration names.
//
// The pages of a group have those who are in it by a group within it, and
// GET /rest/api/2/user leaves such groups out. So the pages say who is in a group
// that the configuration names; what was said of one user alone adds to it until
// the next refresh, and takes nothing away.
//
// Fields that are missing are unknown: groups that are not named are not "no
// groups". The one field that is insisted on is active, except in the answer
// to a login, which an inactive user does not get: Jira has sent it ever since
// users can be deactivated (JRASERVER-29422), so its absence says that
// somebody else has answered.
package directory
