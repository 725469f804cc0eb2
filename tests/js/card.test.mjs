import assert from "node:assert/strict";
import test from "node:test";
import { call, openPage } from "./page.mjs";

const { who, stateWords } = openPage({ scripts: ["cti-connector.js", "desk.js", "card.js"] }).Cti.page;
const unknown = (sourceName, facts) => call("a", "RINGING", {
  source: "442079469999", sourceName, number: "+442079469999", display: "020 7946 9999", ...facts,
});

test("a name that is the number once more is not shown as a name", () => {
  for (const name of ["", "442079469999", "+44 20 7946 9999", "(020) 7946-9999", "02079469999", "7946 9999", "--"]) {
    const { title, detail } = who(unknown(name));
    assert.deepEqual([title, detail], ["020 7946 9999", ""], name);
  }
});

test("a name is shown, and the number below it", () => {
  for (const name of ["Dana", "Unit 9999", "Ольга", "0161 496 0000"]) {
    const { title, detail } = who(unknown(name));
    assert.deepEqual([title, detail], [name, "020 7946 9999"]);
  }
});

test("who withholds the number has no name either", () => {
  for (const facts of [{ kind: "withheld" }, { match: "withheld" }]) {
    const { title, detail } = who(unknown("Anonymous", { source: "anonymous", number: "", display: "", ...facts }));
    assert.deepEqual([title, detail], ["Number withheld", undefined]);
  }
});

test("a contact can be created where the server says so, or says nothing", () => {
  assert.equal(who(unknown("")).link, "Create contact");
  assert.equal(who(unknown("", { canCreate: true })).link, "Create contact");
  assert.ok(!who(unknown("", { canCreate: false })).link);
});

test("a call that was handed on is transferred, not merely over", () => {
  assert.equal(stateWords(call("a", "HANGUP", { endReason: "transferred" })), "Transferred");
  assert.equal(stateWords(call("a", "HANGUP", { endReason: "elsewhere" })), "Answered elsewhere");
  for (const endReason of ["completed", "missed", ""]) assert.equal(stateWords(call("a", "HANGUP", { endReason })), "Call ended");
  assert.equal(stateWords(call("a")), "Incoming call");
});
