import steps
from atlassian import Jira


class Client:
    def __init__(self, step):
        credential = {"token": step["secret"]}
        if step["how"] == "basic":
            credential = {"username": step["user"], "password": step["secret"]}
        self.jira = Jira(step["url"], retry_with_header=step.get("retries", 0) > 0, **credential)

    def read(self):
        me = self.jira.myself()["name"]
        found = self.jira.jql("project = DEMO", limit=5)["issues"]
        return f"{me} reads {self.jira.issue(found[0]['key'])['key']}"

    def myself(self):
        return self.jira.myself()["name"]

    def issue(self):
        return self.jira.issue("DEMO-1")["key"]

    def write(self):
        return self.jira.issue_create({"project": {"key": "DEMO"}, "summary": "by atlassian-python-api", "issuetype": {"name": "Task"}})["key"]

    def attach(self):
        with steps.upload_file() as file:
            attachment = self.jira.add_attachment("DEMO-1", file.name)[0]
        assert self.jira.get_attachment_content(attachment["id"]) == steps.CONTENT
        return "attached"

    def download(self):
        attachment = self.jira.issue("DEMO-1")["fields"]["attachment"][0]
        return len(self.jira.get_attachment_content(attachment["id"]))

    def closed(self):
        return self.jira.get("secure/Dashboard.jspa", not_json_response=True)


steps.take(Client)
