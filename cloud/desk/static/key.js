// Security keys in the browser. What a key signs is made here, from a label and what the page shows: the page never
// signs a number that it was handed. The key itself asks for its PIN or finger; nothing of it is kept here.

const utf8 = text => new TextEncoder().encode(text);
const fromHex = hex => Uint8Array.from(hex.match(/../g) ?? [], pair => parseInt(pair, 16));
const fromBase64url = text => Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), char => char.charCodeAt(0));
const csrf = () => document.body.dataset.csrf;
const LABELS = { enrol: 'vo/enrol/v1', signIn: 'vo/sign-in/v1', seat: 'vo/seat/v1', request: 'vo/request/v1', approve: 'vo/approve/v1', change: 'vo/change/v1' };
const WAIT_MS = 120000;
const ANSWER_MS = 60000; // who hears nothing for so long is told so

class Unreachable extends Error {}
class KeyRefused extends Error {
  constructor({ status, said }) { super(said.title ? `${said.title}: ${said.expected}` : String(status)); Object.assign(this, said); }
}

async function reach(path, options) { // the whole answer, as bytes; that none came is told as such
  try {
    const answer = await fetch(path, { ...options, signal: AbortSignal.timeout(ANSWER_MS) });
    return { ok: answer.ok, status: answer.status, bytes: await answer.arrayBuffer() };
  } catch { throw new Unreachable(path); }
}

async function challengeOf(act, ...parts) {
  return crypto.subtle.digest('SHA-256', await new Blob([utf8(LABELS[act]), new Uint8Array(1), ...parts]).arrayBuffer());
}

export async function send(path, body = null, more = {}) {
  const headers = { 'Content-Type': 'application/json', ...(csrf() ? { 'X-CSRF-Token': csrf() } : {}), ...more };
  const { ok, status, bytes } = await reach(path, { method: 'POST', headers, body: body === null ? null : JSON.stringify(body) });
  let said = {};
  try { said = JSON.parse(new TextDecoder().decode(bytes)); } catch { /* a page, and not for us */ }
  if (!ok) throw new KeyRefused({ status, said });
  return said;
}

export function tell(says, problem) { // what happened and what to do, in the words of the page
  const { failed, lost, unsigned, broken } = says.dataset;
  const todo = document.documentElement.lang === 'nl' ? problem.wat_te_doen : problem.what_to_do;
  const refused = problem instanceof KeyRefused;
  if (problem instanceof Unreachable) says.textContent = lost;
  else if (refused && problem.title) says.textContent = `${failed} ${todo ?? ''} (${problem.message})`;
  else if (problem instanceof DOMException) says.textContent = `${unsigned} (${problem.name})`;
  else says.textContent = `${broken}${refused ? ` (${problem.message})` : ''}`;
  says.hidden = false;
  if (!(refused || problem instanceof Unreachable || problem instanceof DOMException)) throw problem;
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
  const { ok, status, bytes } = await reach(from, { cache: 'no-store' });
  if (!ok) throw new KeyRefused({ status, said: {} });
  const challenge = await challengeOf(act, bytes);
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
  button.disabled = says.hidden = true;
  try { await acts[button.dataset.keyAct](button); } catch (problem) { button.disabled = false; tell(says, problem); }
});
