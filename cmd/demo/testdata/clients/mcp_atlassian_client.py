import os
import tempfile

import steps
from mcp_atlassian.jira import JiraFetcher
from mcp_atlassian.jira.config import JiraConfig


class Client:
    def __init__(self, step):
        credential = {"auth_type": "pat", "personal_token": step["secret"]}
        if step["how"] == "basic":
            credential = {"auth_type": "basic", "username": step["user"], "api_token": step["secret"]}
        self.url = os.environ["JIRA_URL"] = step["url"]  # its protection against SSRF must trust the host
        self.jira = JiraFetcher(JiraConfig(url=self.url, **credential))
        self.jira.jira.retry_with_header = step.get("retries", 0) > 0

    def read(self):
        found = self.jira.search_issues("project = DEMO", limit=5).issues
        return f"{self.jira.get_current_user_account_id()} reads {self.jira.get_issue(found[0].key).key}"

    def myself(self):
        return self.jira.get_current_user_account_id()

    def issue(self):
        return self.jira.get_issue("DEMO-1").key

    def write(self):
        return self.jira.jira.issue_create({"project": {"key": "DEMO"}, "summary": "by mcp-atlassian", "issuetype": {"name": "Task"}})["key"]

    def attach(self):
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            with open("a.bin", "wb") as file:
                file.write(steps.CONTENT)
            uploaded = self.jira.upload_attachment("DEMO-1", "a.bin")
            assert uploaded["success"], uploaded
            # The first one of that name may be another client's; all have the same content.
            content = self.jira.get_issue_attachments("DEMO-1")[0]
            assert self.jira.fetch_attachment_content(content.url) == steps.CONTENT
            os.chdir("/")
        return "attached"

    def download(self):
        return len(self.jira.fetch_attachment_content(self.jira.get_issue_attachments("DEMO-1")[0].url))

    def closed(self):
        content = self.jira.fetch_attachment_content(self.url + "/secure/Dashboard.jspa")
        assert content is not None, "no content"
        return content


steps.take(Client)
