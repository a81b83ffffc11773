// The live parts of the pages. Without this file every page still reads and every form still works.

const announcer = document.getElementById("nouvelles");
const french = document.documentElement.lang === "fr";
const SAID = {
  "card.inserted": french ? "Une carte a été insérée." : "A card was inserted.",
  "card.removed": french ? "Une carte a été retirée du lecteur." : "A card was taken out of its reader.",
  "card.session_closed": french ? "Une session de carte est terminée." : "A card session is over.",
  "order.created": french ? "Une commande est passée." : "An order was placed.",
  "certificate.issued": french ? "Un certificat est émis." : "A certificate was issued.",
  "certificate.revoked": french ? "Un certificat est révoqué." : "A certificate was revoked.",
  "pairing.requested": french ? "Une application demande à être admise : voir la page Applications." : "An application asks to be let in: see the page Applications.",
  "consent.asked": french ? "Une application veut utiliser une carte : répondez en haut de la page." : "An application wants to use a card: answer at the top of the page.",
};
const EVENTS = [
  "reader.added", "reader.removed", "reader.changed", "card.created", "card.inserted", "card.removed", "card.opposed",
  "card.read", "card.pin_changed", "card.pin_blocked", "card.pin_unblocked", "card.session_closed",
  "habilitation.submitted", "habilitation.approved", "habilitation.refused", "habilitation.withdrawn",
  "order.created", "order.possession_proven", "order.retrieved", "order.cancelled", "order.expired",
  "certificate.issued", "certificate.revoked", "certificate.expiring",
  "crl.published", "crl.added", "crl.removed", "crl.updated", "crl.fetch_failed", "crl.aged",
  "pairing.requested", "pairing.allowed", "pairing.denied", "pairing.ended", "application.activated",
  "application.renamed", "application.revoked", "application.expired",
  "consent.asked", "consent.granted", "consent.denied", "consent.ended",
];

const ALL = new Set(EVENTS.map((name) => name.split(".")[0]));

/** Of a list published while lists are looked at: which one. */
function saidOfList(event) {
  if (!document.querySelector("[data-live~=crl]")) return "";
  const name = JSON.parse(event.data).subject.replace("crl:", "");
  return french ? `La LCR ${name} est publiée.` : `The CRL ${name} is published.`;
}

/** Says a sentence to everybody, screen readers included. */
function announce(sentence) {
  const line = document.createElement("p");
  line.className = "notice";
  line.textContent = sentence;
  announcer.replaceChildren(line);
}

/** Replaces the live parts that news of these kinds concerns, unless somebody is typing there. */
async function refresh(kinds) {
  const parts = [...document.querySelectorAll("[data-live]")];
  const wanted = (part) => part.dataset.live.split(" ").some((kind) => kinds.has(kind));
  const session = kinds.has("card");
  if (!session && !parts.some(wanted)) return;
  const answer = await fetch(location.href, { headers: { Accept: "text/html", "Cardd-Live": "1" } });
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const notice = fresh.querySelector("#nouvelles .notice");
  if (notice) announcer.replaceChildren(notice);
  const freshParts = [...fresh.querySelectorAll("[data-live]")];
  parts.forEach((part, index) => {
    const typing = [...part.querySelectorAll("input:not([type=hidden])")].some((field) => field.value && field.type !== "checkbox");
    if (wanted(part) && freshParts[index] && !typing) swap(part, freshParts[index]);
  });
  const [header, freshHeader] = [document.querySelector(".session"), fresh.querySelector(".session")];
  if (session && header && freshHeader) swap(header, freshHeader);
  showCopyButtons();
}

/** Names what can have the focus by what it is and where it stands, so that its successor is found. */
function nameOf(element) {
  const place = element.closest("form, article, section");
  const said = element.matches("a, button, summary") ? element.textContent.trim() : "";
  const chosen = element.type === "radio" ? element.value : "";
  return [element.tagName, element.id, element.getAttribute("href"), element.getAttribute("name"), chosen, said,
    place?.getAttribute("action") ?? place?.id].join("|");
}

/** Puts one element in another's place; the focus stays on what bears the same name. */
function swap(old, fresh) {
  const focused = old.contains(document.activeElement) ? nameOf(document.activeElement) : "";
  const open = [...old.querySelectorAll("details")].map((each) => each.open);
  old.replaceWith(fresh);
  fresh.querySelectorAll("details").forEach((each, index) => { each.open = open[index] ?? each.open; });
  if (focused) [...fresh.querySelectorAll("a, button, input, select, textarea, summary, [tabindex]")].find((each) => nameOf(each) === focused)?.focus();
}

/** Listens to the daemon while the page is seen; several pieces of news at once refresh the page once. */
function listen() {
  let source = connect();
  document.addEventListener("visibilitychange", () => {
    source.close();
    if (document.hidden) return;
    source = connect();
    refresh(ALL).catch(() => {});
  });
  addEventListener("pagehide", () => source.close());
}

/** Says that the page no longer follows what happens, and why; an empty sentence takes it back. */
function warn(sentence) {
  document.getElementById("sans-nouvelles")?.remove();
  if (!sentence) return;
  const line = document.createElement("p");
  line.id = "sans-nouvelles";
  line.className = "warning";
  line.setAttribute("role", "alert");
  line.textContent = sentence;
  announcer.before(line);
}

const LOST = french
  ? "Le démon ne répond plus : cette page montre ce qui était vrai. Elle réessaie d’elle-même."
  : "The daemon no longer answers: this page shows what was true. It tries again by itself.";
const SIGNED_OUT = french
  ? "Ce navigateur n’est plus connecté : exécutez « cardd open » pour revenir."
  : "This browser is no longer signed in: run “cardd open” to come back.";

/** Follows the daemon's news from what the page shows on; where the connection is lost the browser opens it again. */
function connect() {
  const source = new EventSource(`/nouvelles?apres=${announcer.dataset.after ?? ""}`);
  let kinds = new Set();
  let timer = 0;
  let missed = false;
  source.addEventListener("error", () => {
    missed = true;
    warn(source.readyState === EventSource.CLOSED ? SIGNED_OUT : LOST);
  });
  source.addEventListener("open", () => {
    if (!missed) return;
    missed = false;
    warn("");
    refresh(ALL).catch(() => {});
  });
  for (const name of EVENTS) {
    source.addEventListener(name, (event) => {
      announcer.dataset.after = event.lastEventId;
      kinds.add(name.split(".")[0]);
      const said = name === "crl.published" ? saidOfList(event) : SAID[name];
      if (said) announce(said);
      clearTimeout(timer);
      timer = setTimeout(() => { refresh(kinds).catch(() => {}); kinds = new Set(); }, 150);
    });
  }
  return source;
}

/** Checks a form while it is typed, by the daemon's own rules; only fields that were left are judged. */
function checkWhileTyping(form) {
  const left = new Set();
  let timer = 0;
  const check = async () => {
    const answer = await fetch(form.dataset.check, { method: "POST", body: new URLSearchParams(new FormData(form)) });
    if (!answer.ok) return;
    const { problems } = await answer.json();
    for (const field of left) {
      const place = document.getElementById(`${field}-probleme`);
      const input = form.elements.namedItem(field);
      if (!place || !input) continue;
      const problem = problems[field];
      place.hidden = !problem;
      place.textContent = problem ?? "";
      input.toggleAttribute?.("aria-invalid", false);
      if (problem) input.setAttribute("aria-invalid", "true");
    }
  };
  form.addEventListener("focusout", (event) => {
    if (!event.target.name || !event.target.value) return;
    left.add(event.target.name);
    clearTimeout(timer);
    timer = setTimeout(() => check().catch(() => {}), 100);
  });
}

/** Shows that work is under way, and keeps a form from being sent twice. */
function showProgress(form) {
  form.addEventListener("submit", () => {
    for (const button of form.querySelectorAll("button")) button.disabled = true;
    const line = document.createElement("p");
    line.className = "busy";
    line.setAttribute("role", "status");
    line.textContent = form.dataset.busy;
    form.append(line);
  });
}

/** Sends an answer without leaving the page, where a form may be half filled in. */
async function answerQuietly(event) {
  event.preventDefault();
  await fetch(event.target.action, { method: "POST", body: new URLSearchParams(new FormData(event.target)) });
  await refresh(new Set(["consent"]));
}

function showCopyButtons() {
  for (const button of document.querySelectorAll("[data-copy]")) button.hidden = !navigator.clipboard;
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
  announce(french ? "Copié." : "Copied.");
});
document.addEventListener("submit", (event) => {
  if (event.target.dataset.ask && !confirm(event.target.dataset.ask)) event.preventDefault();
  if ("quiet" in event.target.dataset) answerQuietly(event);
});
addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

showCopyButtons();
document.querySelectorAll("form[data-check]").forEach(checkWhileTyping);
document.querySelectorAll("form[data-busy]").forEach(showProgress);
document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
document.getElementById("erreur")?.focus();
listen();
