import io

import steps
from jira import JIRA


class Client:
    def __init__(self, step):
        how, url = step["how"], step["url"]
        credential = {}
        if how == "basic":
            credential = {"basic_auth": (step["user"], step["secret"])}
        elif how == "bearer":
            credential = {"token_auth": step["secret"]}
        elif how == "session":
            credential = {"auth": (step["user"], step["secret"])}
        self.jira = JIRA(url, max_retries=step.get("retries", 0), get_server_info=False, **credential)
        self.url = url

    def read(self):
        me = self.jira.myself()["name"]
        found = self.jira.search_issues("project = DEMO", maxResults=5)
        return f"{me} reads {self.jira.issue(found[0].key).key}"

    def myself(self):
        return self.jira.myself()["name"]

    def issue(self):
        return self.jira.issue("DEMO-1").key

    def write(self):
        return self.jira.create_issue(project="DEMO", summary="by python-jira", issuetype={"name": "Task"}).key

    def attach(self):
        attachment = self.jira.add_attachment("DEMO-1", io.BytesIO(steps.CONTENT), filename="a.bin")
        assert attachment.get() == steps.CONTENT
        return "attached"

    def download(self):
        return len(self.jira.issue("DEMO-1").fields.attachment[0].get())

    def closed(self):
        return self.jira._session.get(self.url + "/secure/Dashboard.jspa").text

    def anonymous(self):
        return self.jira.server_info()["version"]


steps.take(Client)
