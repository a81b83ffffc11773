// What a page of somebody else's can try on a service of this machine. `attack` answers what each attempt obtained:
// null for nothing. Attempts whose effect shows on the service alone answer null always.

const PATIENCE = 4000;
const after = (milliseconds) => new Promise((resolve) => { setTimeout(() => resolve(null), milliseconds); });
const within = (promise) => Promise.race([promise, after(PATIENCE)]);

function fetches(target, card) {
  const calls = [
    ["GET", "/"], ["GET", "/cartes"], ["GET", "/suivre"], ["GET", "/journal"], ["GET", "/api/v1/cards"], ["GET", "/api/v1/health"],
    ["GET", "/api/v1/openapi.json"], ["GET", "/metrics"], ["GET", "/CRL/ACR-EL-TEST.crl"], ["GET", "/static/cardd.js"],
    ["POST", "/quitter"], ["POST", `/cartes/${card}/retirer`], ["POST", `/cartes/${card}/session`], ["POST", "/api/v1/ihm/links"],
    ["POST", `/api/v1/test-cards/${card}/remove`], ["POST", `/api/v1/cards/${card}/session`], ["PUT", `/api/v1/cards/${card}/pin`],
    ["DELETE", `/api/v1/cards/${card}/session`], ["OPTIONS", "/api/v1/cards"],
  ];
  const types = ["text/plain", "application/x-www-form-urlencoded", "application/json"];
  const attempts = [];
  for (const [method, path] of calls) {
    for (const mode of ["cors", "no-cors", "same-origin"]) {
      for (const type of method === "POST" || method === "PUT" ? types : [""]) {
        const body = type === "application/json" || type === "text/plain" ? '{"pin":"0000"}' : "pin=0000&_jeton=x";
        const options = { method, mode, credentials: "include", headers: type ? { "Content-Type": type } : {} };
        if (type) options.body = body;
        attempts.push([`fetch ${mode} ${method} ${path} ${type}`, async () => {
          const answer = await fetch(target + path, options);
          return answer.type === "opaque" ? null : `${answer.status} ${await answer.text()}`;
        }]);
      }
    }
  }
  attempts.push(["fetch with a guessed token", async () => {
    const answer = await fetch(`${target}/api/v1/cards`, { headers: { Authorization: "Bearer guessed" } });
    return `${answer.status} ${await answer.text()}`;
  }]);
  attempts.push(["beacon", async () => { navigator.sendBeacon(`${target}/cartes/${card}/retirer`, "pin=0000"); return null; }]);
  return attempts;
}

function forms(target, card) {
  const paths = [`/cartes/${card}/retirer`, `/cartes/${card}/session`, "/quitter", `/api/v1/test-cards/${card}/remove`];
  const kinds = ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"];
  return paths.flatMap((path) => kinds.map((kind) => [`form ${kind} ${path}`, async () => {
    const frame = document.createElement("iframe");
    frame.name = `sink-${Math.random()}`;
    document.body.append(frame);
    const form = document.createElement("form");
    Object.assign(form, { method: "post", action: target + path, enctype: kind, target: frame.name });
    for (const [name, value] of [["pin", "0000"], ["_jeton", "x"], ['{"pin":"', '0000"}']]) {
      const field = document.createElement("input");
      Object.assign(field, { type: "hidden", name, value });
      form.append(field);
    }
    document.body.append(form);
    const loaded = new Promise((resolve) => { frame.addEventListener("load", () => resolve(null)); });
    form.submit();
    await within(loaded);
    return readFrame(frame);
  }]));
}

function readFrame(frame) {
  try {
    const text = frame.contentDocument.body.textContent;
    return text || null;
  } catch { return null; }
}

function elements(target) {
  const kinds = [
    ["img", "src", "/static/cardd.svg"], ["img", "src", "/"], ["script", "src", "/static/cardd.js"], ["script", "src", "/api/v1/cards"],
    ["link", "href", "/static/cardd.css"], ["video", "src", "/journal"], ["object", "data", "/cartes"], ["embed", "src", "/cartes"],
  ];
  return kinds.map(([tag, attribute, path]) => [`<${tag}> ${path}`, async () => {
    const element = document.createElement(tag);
    if (tag === "link") element.rel = "stylesheet";
    const outcome = new Promise((resolve) => {
      element.addEventListener("load", () => resolve(tag === "object" || tag === "embed" ? null : "loaded"));
      element.addEventListener("loadeddata", () => resolve("loaded"));
      element.addEventListener("error", () => resolve(null));
    });
    element[attribute] = target + path;
    document.body.append(element);
    return within(outcome);
  }]);
}

function streams(target) {
  const sources = ["/api/v1/events", "/nouvelles"].map((path) => [`EventSource ${path}`, async () => {
    const source = new EventSource(target + path, { withCredentials: true });
    const outcome = new Promise((resolve) => {
      source.addEventListener("open", () => resolve("opened"));
      source.addEventListener("error", () => resolve(null));
    });
    const got = await within(outcome);
    source.close();
    return got;
  }]);
  const sockets = ["/api/v1/events", "/nouvelles", "/"].map((path) => [`WebSocket ${path}`, async () => {
    const socket = new WebSocket(target.replace("http", "ws") + path);
    return within(new Promise((resolve) => {
      socket.addEventListener("open", () => resolve("opened"));
      socket.addEventListener("error", () => resolve(null));
    }));
  }]);
  return [...sources, ...sockets];
}

function frames(target) {
  const framed = ["/", "/cartes", "/PC"].map((path) => [`frame ${path}`, async () => {
    const frame = document.createElement("iframe");
    frame.src = target + path;
    document.body.append(frame);
    await within(new Promise((resolve) => { frame.addEventListener("load", () => resolve(null)); }));
    frame.contentWindow.postMessage("are you there?", "*");
    return readFrame(frame);
  }]);
  const ahead = ["prefetch", "prerender", "preload"].map((relation) => [`link ${relation}`, async () => {
    const link = document.createElement("link");
    Object.assign(link, { rel: relation, href: `${target}/cartes`, as: "fetch" });
    document.head.append(link);
    await after(200);
    return null;
  }]);
  return [...framed, ...ahead];
}

/** Tries everything on the service at `target`; several attempts at once. */
async function attack(target, card) {
  const heard = [];
  addEventListener("message", (event) => heard.push(String(event.data)));
  const attempts = [...fetches(target, card), ...elements(target), ...streams(target), ...frames(target), ...forms(target, card)];
  const outcomes = [];
  const queue = [...attempts];
  const work = async () => {
    for (let next = queue.shift(); next; next = queue.shift()) {
      const [name, attempt] = next;
      try { outcomes.push([name, await within(attempt())]); } catch { outcomes.push([name, null]); }
    }
  };
  await Promise.all(Array.from({ length: 8 }, work));
  return [...outcomes, ...heard.map((said) => ["message", said])];
}
