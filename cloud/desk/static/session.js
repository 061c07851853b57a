// When one's time is up: a warning before it, and nothing that was typed is lost by it. What was typed stays in this
// tab; who signs in anew in another tab comes back and sends it. Everything else of the page goes.

import { typed as holdsTyped } from './typed.js';

const body = document.body;
const box = document.getElementById('ends');
const says = box?.querySelector('p');
const AGAIN_MS = 5000; // before it is looked again whether one is back
const WARN_MIN = [1, 2, 5, 10]; // said at each of these, not every minute: it is read aloud
const typed = new Set([...document.forms].filter(form => form.method === 'post' && holdsTyped(form))); // that hold something that was not sent; typed perhaps before this came
const putAway = [];
let endsAt = Infinity, told = 0, isOver = false;

export const over = () => isOver;

export function heard({ session, left }) { // with each sign of life of the server
  if (session && session !== body.dataset.session) { renew(); return; }
  if (left !== undefined) endsAt = performance.now() + left * 1000;
  look();
}

export function look() {
  if (isOver || !box) return;
  const left = (endsAt - performance.now()) / 1000;
  if (left <= 0) { ended(); return; }
  const minutes = WARN_MIN.find(each => left <= each * 60) ?? 0;
  if (minutes === told) return;
  told = minutes;
  box.hidden = !minutes;
  says.textContent = says.dataset.soon.replace('%1', minutes);
}

export function ended() {
  if (isOver) return;
  const unsent = [...typed].filter(form => form.isConnected);
  if (!unsent.length) { location.assign('/aanmelden'); return; }
  isOver = true;
  const keep = new Set([box]);
  for (let at of unsent) for (; at && at !== body; at = at.parentElement) { keep.add(at); if (unsent.includes(at)) for (const inner of at.querySelectorAll('*')) keep.add(inner); }
  for (const each of [...keep].filter(each => !unsent.includes(each) && !unsent.some(form => form.contains(each))).concat(body)) {
    for (const child of each.children) if (!keep.has(child) && each !== box && !child.hidden) { child.hidden = true; putAway.push(child); }
  }
  box.hidden = false;
  says.textContent = says.dataset.over;
}

async function renew() { // somebody signed in anew in this browser: the same person goes on here, another begins anew
  const answer = await fetch('/toegankelijkheid', { cache: 'no-store' }).catch(() => null);
  if (!answer?.ok) { setTimeout(back, AGAIN_MS); return; }
  const now = new DOMParser().parseFromString(await answer.text(), 'text/html').body.dataset;
  if (!now.who) return;
  if (now.who !== body.dataset.who) { typed.clear(); location.assign('/'); return; }
  body.dataset.csrf = now.csrf;
  body.dataset.session = now.session;
  for (const field of document.querySelectorAll('input[name=csrf]')) field.value = now.csrf;
  for (const each of putAway.splice(0)) each.hidden = false;
  isOver = false; told = 0; endsAt = Infinity; box.hidden = true;
  document.dispatchEvent(new CustomEvent('renewed'));
}

document.addEventListener('input', ({ target }) => { if (target.form?.method === 'post') typed.add(target.form); });
document.addEventListener('submit', event => {
  if (!isOver) { typed.delete(event.target); return; }
  event.preventDefault();
  event.stopImmediatePropagation();
  box.querySelector('a').focus();
}, true);
function back() { if (isOver && !document.hidden) renew(); }
for (const [where, what] of [[document, 'visibilitychange'], [window, 'focus']]) where.addEventListener(what, back);
