// Security keys in the browser. What a key signs is made here, from a label and what the page shows: the page never
// signs a number that it was handed. The key itself asks for its PIN or finger; nothing of it is kept here.

const utf8 = text => new TextEncoder().encode(text);
const fromHex = hex => Uint8Array.from(hex.match(/../g) ?? [], pair => parseInt(pair, 16));
const fromBase64url = text => Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), char => char.charCodeAt(0));
const csrf = () => document.body.dataset.csrf;
const LABELS = { enrol: 'vo/enrol/v1', signIn: 'vo/sign-in/v1', seat: 'vo/seat/v1', request: 'vo/request/v1', approve: 'vo/approve/v1', change: 'vo/change/v1' };
const WAIT_MS = 120000;

export class KeyRefused extends Error {}

async function challengeOf(act, ...parts) {
  return crypto.subtle.digest('SHA-256', await new Blob([utf8(LABELS[act]), new Uint8Array(1), ...parts]).arrayBuffer());
}

export async function send(path, body = null) {
  const headers = { 'Content-Type': 'application/json', ...(csrf() ? { 'X-CSRF-Token': csrf() } : {}) };
  const answer = await fetch(path, { method: 'POST', headers, body: body === null ? null : JSON.stringify(body) });
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new KeyRefused(said.title ? `${said.title}: ${said.expected}` : String(answer.status));
  return said;
}

async function sign(challenge, allowed) {
  const allowCredentials = allowed.map(id => ({ type: 'public-key', id: fromBase64url(id) }));
  const credential = await navigator.credentials.get({ publicKey: { challenge, allowCredentials, userVerification: 'required', timeout: WAIT_MS } });
  return JSON.stringify(credential.toJSON());
}

export const keysIn = element => (element.dataset.keys ?? '').split(' ').filter(Boolean);

export async function signIn() {
  const { nonce } = await send('/aanmelden/getal');
  return send('/aanmelden/sleutel', { nonce, assertion: await sign(await challengeOf('signIn', fromHex(nonce)), []) });
}

export async function enrol({ code, nonce, official, name, known }) {
  const credential = await navigator.credentials.create({ publicKey: {
    challenge: await challengeOf('enrol', fromHex(nonce)),
    rp: { name: 'Vier Ogen' },
    user: { id: utf8(official), name: official, displayName: name },
    pubKeyCredParams: [-7, -8, -257].map(alg => ({ type: 'public-key', alg })),
    excludeCredentials: known.map(id => ({ type: 'public-key', id: fromBase64url(id) })),
    authenticatorSelection: { residentKey: 'required', userVerification: 'required' },
    hints: ['security-key'], attestation: 'none', timeout: WAIT_MS } });
  return send(`/sleutels/nieuw/${code}`, { nonce, registration: JSON.stringify(credential.toJSON()) });
}

async function signDocument(act, from, to, allowed) { // read the very bytes, sign their hash, hand the signature in
  const answer = await fetch(from, { cache: 'no-store' });
  if (!answer.ok) throw new KeyRefused(String(answer.status));
  const challenge = await challengeOf(act, await answer.arrayBuffer());
  return send(to, { assertion: await sign(challenge, allowed) });
}

export const askFor = (room, allowed) => signDocument('request', `/kijkkamer/${room}/verzoek`, `/kijkkamer/${room}/ondertekenen`, allowed);
export const approve = (room, allowed) => signDocument('approve', `/kijkkamer/${room}/verzoek`, `/kijkkamer/${room}/goedkeuren`, allowed);
export const change = (proposal, allowed, at = '/sleutels') => signDocument('change', `${at}/voorstel/${proposal}/stuk`, `${at}/voorstel/${proposal}/tekenen`, allowed);

export async function sit(room, allowed) { // the answer is this page's own proof of the seat: it is kept in memory only
  const { nonce } = await send(`/kijkkamer/${room}/getal`);
  const challenge = await challengeOf('seat', fromHex(nonce), utf8(room));
  return send(`/kijkkamer/${room}/plaatsnemen`, { nonce, assertion: await sign(challenge, allowed) });
}

// --- the buttons --------------------------------------------------------------------------------------------------

const acts = {
  'sign-in': async () => { location.assign((await signIn()).next); },
  enrol: async ({ dataset }) => { await enrol({ ...dataset, known: [] }); location.assign('/aanmelden'); },
  ask: async button => { await askFor(button.dataset.room, keysIn(button)); location.reload(); },
  approve: async button => { await approve(button.dataset.room, keysIn(button)); location.reload(); },
  change: async button => { await change(button.dataset.proposal, keysIn(button), button.dataset.at); location.reload(); },
};

document.addEventListener('click', async event => {
  const button = event.target.closest('[data-key-act]');
  if (!button) return;
  const says = document.getElementById('key-says');
  button.disabled = true;
  if (says) says.hidden = true;
  try { await acts[button.dataset.keyAct](button); } catch (problem) {
    button.disabled = false;
    if (!(problem instanceof KeyRefused || problem instanceof DOMException)) throw problem;
    if (says) { says.textContent = `${says.dataset.failed} (${problem instanceof KeyRefused ? problem.message : problem.name})`; says.hidden = false; }
  }
});
