// Takes a token through its life cycle with openapi-fetch and the generated types.
import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { paths } from "./api.d.ts";

const { JIRA, BOT, WILMA, BETTY } = process.env;
const client = (authorization: string) =>
  createClient<paths>({ baseUrl: JIRA + "/rest/api-tokens/latest", headers: { Authorization: authorization } });
const password = (user: string, secret?: string) => client("Basic " + Buffer.from(`${user}:${secret}`).toString("base64"));
const status = async (value: string) =>
  (await fetch(JIRA + "/rest/api/2/myself", { headers: { Authorization: "Bearer " + value } })).status;

const bot = client("Bearer " + BOT);

const { data: made } = await bot.POST("/", {
  body: { label: "typed", user: "fred", expiresIn: "30d", networks: ["10.0.0.0/8"], rate: { requests: 600, perSeconds: 60 } },
});
assert(made && made.state === "active" && made.user === "fred");
assert.equal(await status(made.passwordValue), 200);
console.log("create");

const { data: page } = await bot.GET("/tokens", { params: { query: { user: "fred", state: "active", limit: 10 } } });
assert(page && page.values.some((t) => t.id === made.id && t.rate?.requests === 600) && page.next === null);
console.log("list");

const id = { params: { path: { id: made.id } } };
const { data: changed } = await bot.PATCH("/{id}", { ...id, body: { label: "typed again", readOnly: true, rate: null } });
assert(changed && changed.label === "typed again" && changed.rate === null);
console.log("change");

const { data: rotated } = await bot.POST("/{id}/rotate", { ...id, body: { overlap: "1h" } });
assert(rotated && rotated.previousUntil !== null);
assert.equal(await status(rotated.passwordValue), 200);
console.log("rotate");

assert.equal((await bot.DELETE("/{id}", id)).response.status, 204);
assert.equal(await status(rotated.passwordValue), 401);
console.log("revoke");

const { data: waiting } = await password("wilma", WILMA).POST("/", { body: { label: "typed, waits" } });
assert(waiting && waiting.state === "pending");
const approved = await password("betty", BETTY).POST("/{id}/approve", {
  params: { path: { id: waiting.id }, header: { "X-Atlassian-Token": "no-check" } },
});
assert.equal(approved.response.status, 204);
console.log("approve");

const { error } = await password("wilma", WILMA).POST("/", { body: { label: "typed, too long", expiresIn: "365d" } });
assert(error && error.message.includes("30d"));
console.log("refused");
