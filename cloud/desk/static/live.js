// Keeps a page true without reloading it: one stream of news per page, and parts that are fetched again when told.
// An element with data-live="address" and data-kinds="camera dock …" is redrawn by the server when such news comes;
// with data-of="names" on it or in it, only by news of those.

import { ended, heard as signOfLife, look, over } from './session.js';
import { moveTyped, sayOld, typed } from './typed.js';

const body = document.body;
const state = document.getElementById('link-state');
const lost = document.getElementById('lost'), unsure = document.getElementById('unsure');
const title = document.title;
const SILENT_MS = 9000; // the server says something at least every 3 s
const AGAIN_MS = 5000; // before a stream that does not come is asked for anew
const parts = [...document.querySelectorAll('[data-live]')].map(element => ({
  element, address: element.dataset.live, kinds: new Set(element.dataset.kinds.split(' ')),
  every: Number(element.dataset.every || 0) * 1000, busy: false, again: false, stale: false, undrawn: false, at: 0,
}));

// --- drawing -----------------------------------------------------------------------------------------------------

function keyed(old, fresh, changed) { // same children by data-key: untouched where equal, so that focus and animation stay
  const have = new Map([...old.children].map(child => [child.dataset.key, child]));
  let place = old.firstElementChild;
  for (const child of [...fresh.children]) {
    const mine = have.get(child.dataset.key);
    have.delete(child.dataset.key);
    let use = child;
    if (mine && mine.outerHTML === child.outerHTML) use = mine;
    else if (mine && !moveTyped(mine, child)) { use = mine; sayOld(mine, changed); }
    else if (mine) { const focused = mine.contains(document.activeElement); mine.replaceWith(child); if (place === mine) place = child; if (focused) child.querySelector('a,button')?.focus(); }
    if (use === place) place = place.nextElementSibling; else old.insertBefore(use, place);
  }
  for (const gone of have.values()) if (typed(gone)) sayOld(gone, changed); else gone.remove();
}

function keepOpen(old, fresh) { // what somebody unfolded stays unfolded
  const open = new Set([...old.querySelectorAll('details[open] > summary')].map(summary => summary.textContent));
  for (const summary of fresh.querySelectorAll('details > summary')) if (open.has(summary.textContent)) summary.parentElement.open = true;
}

function same(old) { // how to find again what has the focus in here; what is gone leaves it to the part itself
  const at = document.activeElement;
  if (!old.contains(at)) return '';
  if (at.id) return `#${CSS.escape(at.id)}`;
  for (const name of ['href', 'name', 'action']) if (at.getAttribute(name)) return `[${name}="${CSS.escape(at.getAttribute(name))}"]`;
  return at.form?.getAttribute('action') ? `form[action="${CSS.escape(at.form.getAttribute('action'))}"] button` : ':not(*)';
}

const typing = piece => piece.contains(document.activeElement) && document.activeElement.matches('input,select,textarea');
function later(part, piece) { // drawn when whoever is typing there goes on to something else
  part.later ??= () => redraw(part);
  piece.addEventListener('focusout', part.later, { once: true });
}

function draw(part, html) {
  const element = part.element, changed = element.dataset.changed;
  const fresh = new DOMParser().parseFromString(html, 'text/html').body;
  if (!fresh.children.length) { if (element.innerHTML.trim()) element.replaceChildren(); return; }
  const ids = [...fresh.children].map(child => child.id);
  if (ids.includes('') || [...element.children].map(child => child.id).join() !== ids.join()) { // other pieces, or some that cannot be told apart
    if (typing(element)) { later(part, element); return; }
    keepOpen(element, fresh);
    if (!moveTyped(element, fresh)) { sayOld(element, changed); return; }
    const again = same(element);
    element.replaceChildren(...fresh.children);
    if (again) element.querySelector(again)?.focus();
    return;
  }
  for (const child of [...fresh.children]) {
    const mine = element.querySelector(`:scope > #${CSS.escape(child.id)}`);
    keepOpen(mine, child);
    if (mine.outerHTML === child.outerHTML) continue;
    if (typing(mine)) { later(part, mine); continue; }
    if (mine.hasAttribute('data-keyed') && child.hasAttribute('data-keyed')) { keyed(mine, child, changed); mine.hidden = child.hidden && !mine.children.length; }
    else if (!moveTyped(mine, child)) sayOld(mine, changed);
    else { const again = same(mine); mine.replaceWith(child); if (again) (child.querySelector(again) ?? child).focus(); }
  }
}

let held = false; // a button that is drawn anew while it is pressed would never hear of it
addEventListener('pointerdown', ({ target }) => { held = Boolean(target.closest?.('a,button,summary,label,input,select')); }, true);
for (const end of ['pointerup', 'pointercancel']) addEventListener(end, () => setTimeout(() => { held = false; }), true);
export async function letGo() { for (let waits = 0; held && waits < 200; waits += 1) await new Promise(done => setTimeout(done, 25)); }

async function fetched(part) { // its piece of page; null: nothing to draw, and `stale` says whether to ask again until there is
  try {
    const answer = await fetch(part.address, { headers: { 'Accept': 'text/html', 'X-Part': '1' } });
    if (answer.status === 401) { ended(); return null; }
    part.stale = answer.status >= 500 || answer.status === 429;
    if (answer.ok) return await answer.text();
    if (!part.stale) sayOld(part.element, body.dataset.refused);
  } catch { part.stale = true; }
  return null;
}

async function renew(part) {
  const html = await fetched(part);
  if (html !== null) { part.at = performance.now(); await letGo(); draw(part, html); part.undrawn = false; announce(); }
  if (part.stale) linked('lost'); else if (news.readyState === EventSource.OPEN) linked('live');
}

async function redraw(part) {
  if (part.busy) { part.again = true; return; }
  part.busy = true;
  try { await renew(part); } catch (problem) { // half drawn perhaps: it says so itself, and the next time all of it is replaced
    console.error(problem);
    part.undrawn = true;
    sayOld(part.element, body.dataset.undrawn);
  }
  await new Promise(done => setTimeout(done, 250)); // at most four a second
  part.busy = false;
  if (part.again) { part.again = false; redraw(part); }
}

function redrawAll() { for (const part of parts) redraw(part); }

// --- the stream --------------------------------------------------------------------------------------------------

let heard = performance.now();
function linked(now) {
  if (!state) return;
  if (now === 'live' && (parts.some(part => part.stale) || performance.now() - heard > SILENT_MS)) return; // not while anything shown is old
  state.dataset.state = now;
  state.textContent = state.dataset[`${now === 'live' ? 'live' : now === 'lost' ? 'lost' : 'wait'}Text`];
  lost.hidden = now !== 'lost';
  if (now === 'lost') lost.textContent = body.dataset.lost;
  body.classList.toggle('is-lost', now === 'lost');
}

function concerns(part, data) { // news that names none of these things may be of all of them
  const of = (part.element.dataset.of ?? part.element.querySelector('[data-of]')?.dataset.of)?.split(' ');
  const named = ['case', 'recording', 'incident'].map(name => data[name]).filter(Boolean);
  return !of || !named.length || named.some(name => of.includes(name));
}

let news = null, asked = 0;
function listen() { // a browser takes up a broken stream by itself, but not one that was refused once, or that fell silent
  news?.close();
  asked = performance.now();
  news = new EventSource('/live');
  news.onopen = () => { heard = performance.now(); redrawAll(); linked('live'); };
  news.onerror = () => { if (news.readyState === EventSource.CLOSED) { linked('lost'); redrawAll(); } }; // a part says why: one is signed out, or the server is away
  for (const kind of ['camera', 'dock', 'activation', 'acknowledged', 'recording', 'case', 'room', 'retention', 'alert', 'mark', 'newcomer', 'device', 'reset', 'tick']) {
    news.addEventListener(kind, event => {
      heard = performance.now(); linked('live');
      if (kind === 'tick') { signOfLife(JSON.parse(event.data)); return; }
      const data = event.data ? JSON.parse(event.data) : {};
      for (const part of parts) if (kind === 'reset' || (part.kinds.has(kind) && concerns(part, data))) redraw(part);
      document.dispatchEvent(new CustomEvent('news', { detail: { kind, data } }));
    });
  }
}
listen();
document.addEventListener('renewed', () => { listen(); redrawAll(); });
setInterval(() => {
  look();
  if (over()) return;
  const silent = performance.now() - heard > SILENT_MS;
  if (silent) linked('lost');
  if ((silent || news.readyState === EventSource.CLOSED) && performance.now() - asked > AGAIN_MS) { listen(); redrawAll(); }
  for (const part of parts) if (part.stale || part.undrawn || (part.every && performance.now() - part.at > part.every)) redraw(part);
}, 1000);
addEventListener('offline', () => linked('lost'));
addEventListener('online', redrawAll);
addEventListener('pagehide', () => news.close());

// --- an alarm: title and sound -----------------------------------------------------------------------------------

const sound = document.getElementById('sound');
let tones = null, beeping = null, blink = false;

function announce() {
  const banner = document.getElementById('alarm-banner');
  const count = banner ? Number(banner.dataset.count) : 0;
  document.title = count ? `(${count}) ${body.dataset.alarm} – ${title}` : title;
  if (count && wanted()) start(); else stop();
}
function wanted() { try { return localStorage.getItem('geluid') === 'aan'; } catch { return false; } }
function beep() {
  if (!tones || tones.state !== 'running') return;
  for (const [pitch, at] of [[880, 0], [660, 0.22], [880, 0.44]]) {
    const tone = tones.createOscillator(), loud = tones.createGain();
    tone.frequency.value = pitch; loud.gain.value = 0.25;
    tone.connect(loud).connect(tones.destination);
    tone.start(tones.currentTime + at); tone.stop(tones.currentTime + at + 0.18);
  }
}
function start() { if (beeping) return; beep(); beeping = setInterval(() => { beep(); blink = !blink; }, 2500); }
function stop() { clearInterval(beeping); beeping = null; }
function showSound() { const on = wanted(); sound.setAttribute('aria-pressed', String(on)); sound.textContent = on ? sound.dataset.on : sound.dataset.off; }
function wake() { if (!tones && wanted()) { tones = new AudioContext(); } tones?.resume(); }
if (sound) {
  showSound();
  sound.addEventListener('click', () => { try { localStorage.setItem('geluid', wanted() ? 'uit' : 'aan'); } catch { /* private window */ } showSound(); wake(); announce(); if (wanted() && !beeping) beep(); });
  addEventListener('pointerdown', wake, { once: true }); addEventListener('keydown', wake, { once: true });
  wake();
}
announce();

document.querySelector('.bar__nav [aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'center' }); // on a telephone the menu is longer than the screen

// --- small courtesies ---------------------------------------------------------------------------------------------

let byKey = false; // arrows walk through a list one by one: with keys, the button beside it says which one is meant
addEventListener('keydown', () => { byKey = true; }, true);
addEventListener('pointerdown', () => { byKey = false; }, true);
document.addEventListener('change', event => { if (event.target.matches('[data-submit]') && !byKey) event.target.form.requestSubmit(); });
document.addEventListener('submit', async event => { // acknowledging must not take the coordinator off his page
  const form = event.target;
  if (!form.matches('[data-quiet]')) return;
  event.preventDefault();
  form.querySelector('button').disabled = unsure.hidden = true;
  const answer = await fetch(form.action, { method: 'POST', body: new URLSearchParams(new FormData(form)), headers: { 'X-CSRF-Token': body.dataset.csrf, 'X-Part': '1' } }).catch(() => null);
  if (answer?.status === 401) { ended(); return; }
  if (!answer?.ok) { form.querySelector('button').disabled = unsure.hidden = false; if (!answer) linked('lost'); return; }
  redrawAll();
});
