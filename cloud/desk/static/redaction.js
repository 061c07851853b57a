// Making people unrecognisable, in the room: boxes over the picture, a lane for each track, and the preview. What is
// hidden is decided and drawn in the room's own process; here are numbers only.

import { send, tell } from './key.js';
import { letGo } from './live.js';
import { headers, reroute } from './player.js';

const room = document.getElementById('room'), part = document.getElementById('redaction');
const film = document.getElementById('film'), stage = document.querySelector('.player__stage');
const says = part.dataset, base = `/kijkkamer/${room.dataset.room}/onherkenbaar`;
const element = id => document.getElementById(id);
const HELD_S = 0.5, SLID_S = 0.25, GROWN = 1.4, POLL_MS = 1000, MISSES = 3, TELL_MS = 2000, STEP = 0.01; // as in cloud/redaction/rules/tracks.py
let now = { version: -1, picture: -1, doing: 'nothing', unwatched: [], unsettled: {}, watched_s: {} }, plan = null, chosen = null, drawing = null, muteFrom = null, previewing = false, seenPicture = -1, toldPlayed = '', missed = 0;
const fill = (text, ...values) => values.reduce((all, value, n) => all.replace(`%${n + 1}`, value), text);
const clock = s => `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, '0')}`;

// --- the plan -----------------------------------------------------------------------------------------------------

function hear(told) {
  if (told.version < now.version) return; // asked before what is known by now
  const fresh = told.plan !== undefined && told.version !== now.version;
  now = told;
  if (fresh) plan = told.plan;
  if (previewing && fresh && seenPicture !== told.picture) look(true);
  draw(fresh);
}

async function ask() {
  const { state } = element('room-facts')?.dataset ?? {};
  part.hidden = state !== 'open' && !now.made;
  if (state !== 'open' && now.doing === 'nothing') return;
  try {
    const answer = await fetch(`${base}?versie=${now.version}`, { headers: headers(), signal: AbortSignal.timeout(5000) });
    if (!answer.ok) throw new Error(String(answer.status));
    const told = await answer.json();
    await letGo();
    missed = 0;
    hear(told);
  } catch { missed += 1; }
  element('red-old').hidden = missed < MISSES;
}

async function act(what, body) {
  const problem = element('red-problem');
  problem.hidden = true;
  try { hear(await send(`${base}/${what}`, body ?? null, headers())); } catch (refused) { tell(problem, refused); }
}
const edit = body => act('wijzigen', body);
const unsure = track => now.unsettled[track.id] !== undefined;

async function tellPlayed() { // what was played of the preview; only what was sent to this very person counts
  if (!previewing || film.readyState < 1) return;
  const spans = Array.from({ length: film.played.length }, (_, n) => ({ from_s: film.played.start(n), until_s: film.played.end(n) })).filter(span => span.until_s - span.from_s > 0.2).slice(0, 500);
  const said = JSON.stringify({ picture: seenPicture, spans });
  if (!spans.length || said === toldPlayed) return;
  toldPlayed = said;
  try {
    const answer = await fetch(`${base}/gekeken`, { method: 'POST', headers: { ...headers(), 'Content-Type': 'application/json' }, body: said, keepalive: true });
    if (answer.ok) hear(await answer.json()); else toldPlayed = '';
  } catch { toldPlayed = ''; }
}

// --- where things are ---------------------------------------------------------------------------------------------

function boxAt(track, at) {
  const keys = track.keys, first = keys[0], last = keys[keys.length - 1];
  if (at < first[0] - HELD_S || at > last[0] + HELD_S) return null;
  if (at <= first[0]) return first.slice(1);
  if (at >= last[0]) return last.slice(1);
  const next = keys.findIndex(key => key[0] >= at), a = keys[next - 1], b = keys[next];
  if (!track.drawn && b[0] - a[0] > SLID_S) {
    const x = Math.min(a[1], b[1]), y = Math.min(a[2], b[2]);
    return [x, y, Math.max(a[1] + a[3], b[1] + b[3]) - x, Math.max(a[2] + a[4], b[2] + b[4]) - y];
  }
  const p = b[0] > a[0] ? (at - a[0]) / (b[0] - a[0]) : 0, w = Math.max(a[3], b[3]), h = Math.max(a[4], b[4]);
  const mx = (a[1] + a[3] / 2) * (1 - p) + (b[1] + b[3] / 2) * p, my = (a[2] + a[4] / 2) * (1 - p) + (b[2] + b[4] / 2) * p;
  return [mx - w / 2, my - h / 2, w, h];
}

function grown([x, y, w, h]) { return [x - w * (GROWN - 1) / 2, y - h * (GROWN - 1) / 2, w * GROWN, h * GROWN]; }

// --- over the picture ---------------------------------------------------------------------------------------------

const canvas = document.createElement('canvas');
canvas.className = 'player__boxes'; canvas.setAttribute('aria-hidden', 'true');
stage.append(canvas);

function frame() { // where the picture itself is within the stage, in CSS pixels
  const outer = stage.getBoundingClientRect(), inner = film.getBoundingClientRect();
  const wide = film.videoWidth || 16, high = film.videoHeight || 9, scale = Math.min(inner.width / wide, inner.height / high);
  const w = wide * scale, h = high * scale;
  return { x: inner.x - outer.x + (inner.width - w) / 2, y: inner.y - outer.y + (inner.height - h) / 2, w, h };
}

function paint() {
  const size = stage.getBoundingClientRect(), dense = devicePixelRatio || 1;
  if (canvas.width !== Math.round(size.width * dense) || canvas.height !== Math.round(size.height * dense)) { canvas.width = Math.round(size.width * dense); canvas.height = Math.round(size.height * dense); }
  const pen = canvas.getContext('2d'), f = frame();
  pen.setTransform(dense, 0, 0, dense, 0, 0);
  pen.clearRect(0, 0, size.width, size.height);
  if (plan && !previewing && film.readyState > 1) for (const track of plan.tracks) {
    const found = boxAt(track, film.currentTime);
    if (!found) continue;
    const [x, y, w, h] = track.hidden && !track.drawn ? grown(found) : found;
    const rect = [f.x + x * f.w, f.y + y * f.h, w * f.w, h * f.h];
    pen.lineWidth = track.id === chosen ? 5 : 3; pen.setLineDash(unsure(track) ? [8, 5] : []);
    pen.strokeStyle = '#000'; pen.strokeRect(rect[0] - 1, rect[1] - 1, rect[2] + 2, rect[3] + 2);
    pen.strokeStyle = track.hidden ? (unsure(track) ? '#ffbe00' : '#5db4ee') : '#5fe08a'; pen.strokeRect(...rect);
    if (track.hidden) { pen.fillStyle = 'rgb(8 20 36 / 45%)'; pen.fillRect(...rect); }
    pen.font = '600 14px sans-serif'; pen.fillStyle = '#fff'; pen.strokeStyle = '#000'; pen.setLineDash([]); pen.lineWidth = 3;
    pen.strokeText(name(track), rect[0] + 2, rect[1] - 5); pen.fillText(name(track), rect[0] + 2, rect[1] - 5);
  }
  if (drawing) { const [x, y, w, h] = drawing.box; pen.setLineDash([6, 4]); pen.lineWidth = 4; pen.strokeStyle = '#ffbe00'; pen.strokeRect(f.x + x * f.w, f.y + y * f.h, w * f.w, h * f.h); }
  for (const line of part.querySelectorAll('.redaction__now')) line.style.insetInlineStart = `${plan ? Math.min(100, film.currentTime / plan.length_s * 100) : 0}%`;
  requestAnimationFrame(paint);
}

const inside = ([x, y, w, h]) => { const W = Math.min(1, Math.max(0.02, w)), H = Math.min(1, Math.max(0.02, h)); return [Math.min(1 - W, Math.max(0, x)), Math.min(1 - H, Math.max(0, y)), W, H]; };

function begin(place, box) { // draw, and call `place` with the box
  film.pause();
  if (previewing) look(false);
  drawing = { place, box: inside(box), from: null };
  canvas.classList.add('player__boxes--drawing'); canvas.tabIndex = 0; canvas.focus();
  element('red-help').textContent = says.drawHelp;
}

function end(placed) {
  const { place, box } = drawing;
  drawing = null; canvas.classList.remove('player__boxes--drawing'); canvas.removeAttribute('tabindex');
  element('red-help').textContent = ''; element('red-draw').focus();
  if (placed) place(box.map(value => Math.round(value * 1e4) / 1e4));
}

function pointed(event) { const f = frame(), r = stage.getBoundingClientRect(); return [(event.clientX - r.x - f.x) / f.w, (event.clientY - r.y - f.y) / f.h].map(v => Math.min(1, Math.max(0, v))); }
canvas.addEventListener('pointerdown', event => { if (drawing) { drawing.from = pointed(event); canvas.setPointerCapture(event.pointerId); event.preventDefault(); } });
canvas.addEventListener('pointermove', event => {
  if (!drawing?.from) return;
  const [a, b] = [drawing.from, pointed(event)];
  drawing.box = [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.abs(a[0] - b[0]), Math.abs(a[1] - b[1])];
});
canvas.addEventListener('pointerup', () => { if (!drawing?.from) return; if (drawing.box[2] > 0.01 && drawing.box[3] > 0.01) end(true); else drawing.from = null; });
canvas.addEventListener('keydown', event => {
  if (!drawing) return;
  event.stopPropagation();
  const [x, y, w, h] = drawing.box, move = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[event.key];
  if (move) { drawing.box = inside(event.shiftKey ? [x, y, w + move[0], h + move[1]] : [x + move[0], y + move[1], w, h]); event.preventDefault(); }
  if (event.key === 'Enter') { event.preventDefault(); end(true); }
  if (event.key === 'Escape') { event.preventDefault(); end(false); }
});

// --- lanes and buttons --------------------------------------------------------------------------------------------

const MOST_LANES = 200; // of a crowd: the filter shows the others
const name = track => `${track.drawn ? says.drawn : says.face} ${track.id.slice(1)}`;
const go = s => { film.currentTime = Math.max(0, s); };
const at = () => Math.min(film.currentTime, plan.length_s);

function button(text, press, { danger = false } = {}) {
  const made = document.createElement('button');
  made.type = 'button'; made.className = `nl-button nl-button--secondary${danger ? ' nl-button--negative' : ''}`; made.textContent = text;
  made.addEventListener('click', press);
  return made;
}

function bar(spans, kind) {
  const made = document.createElement('div'); made.className = 'redaction__bar'; made.setAttribute('aria-hidden', 'true');
  for (const [from, until] of spans) {
    const piece = document.createElement('div'); piece.className = `redaction__part ${kind}`;
    piece.style.insetInlineStart = `${Math.max(0, from / plan.length_s * 100)}%`; piece.style.inlineSize = `${Math.min(100, (until - Math.max(0, from)) / plan.length_s * 100)}%`;
    made.append(piece);
  }
  const line = document.createElement('div'); line.className = 'redaction__now'; made.append(line);
  return made;
}

function lane(track) {
  const from = track.keys[0][0], until = track.keys[track.keys.length - 1][0], row = document.createElement('li');
  row.className = `redaction__lane${track.id === chosen ? ' redaction__lane--chosen' : ''}`; row.dataset.track = track.id;
  const title = document.createElement('button'), small = document.createElement('small');
  title.type = 'button'; title.className = 'redaction__name'; title.setAttribute('aria-expanded', String(track.id === chosen)); title.textContent = name(track);
  small.textContent = `${clock(from)} – ${clock(until)}, ${track.hidden ? says.hidden : says.visible}${unsure(track) ? `, ${says.doubt}` : ''}`; title.append(small);
  title.addEventListener('click', () => { chosen = chosen === track.id ? null : track.id; if (chosen) { film.pause(); go(from); } draw(true); part.querySelector(`[data-track="${track.id}"] .redaction__name`)?.focus(); });
  row.append(title, bar([[from - HELD_S, until + HELD_S]], track.hidden ? (unsure(track) ? 'redaction__part--doubt' : '') : 'redaction__part--visible'));
  if (track.id !== chosen) return row;
  const acts = document.createElement('div'); acts.className = 'redaction__acts';
  if (unsure(track)) acts.append(button(says.look, () => preview(Math.max(0, now.unsettled[track.id][0][0] - 0.5))), button(says.settle, () => edit({ type: 'settle', tracks: [track.id] })));
  acts.append(
    button(track.hidden ? says.show : says.hide, () => edit({ type: 'show', track: track.id, hidden: !track.hidden })),
    button(says.only, () => edit({ type: 'only', track: track.id })),
    button(says.move, () => { const when = at(); begin(box => edit({ type: 'move', track: track.id, at_s: when, box }), boxAt(track, when) ?? track.keys[0].slice(1)); }),
    button(says.begins, () => edit({ type: 'extend', track: track.id, from_s: at(), until_s: until })),
    button(says.ends, () => edit({ type: 'extend', track: track.id, from_s: from, until_s: at() })),
    button(says.drop, () => { chosen = null; edit({ type: 'drop', track: track.id }); }, { danger: true }),
  );
  row.append(acts);
  return row;
}

function muted(span, number) {
  const row = document.createElement('li'); row.className = 'redaction__lane';
  const title = document.createElement('span'); title.className = 'redaction__name'; title.textContent = `${says.muted} ${clock(span.from_s)} – ${clock(span.until_s)}`;
  row.append(title, bar([[span.from_s, span.until_s]], 'redaction__part--mute'), button(says.drop, () => edit({ type: 'unmute', number }), { danger: true }));
  return row;
}

function wait(seconds) { // how long still, in words: never more exact than it is
  if (seconds === null || seconds === undefined) return says.leftUnknown;
  if (seconds < 50) return fill(says.left, says.leftShort);
  const minutes = Math.ceil(seconds / 60);
  return fill(says.left, minutes === 1 ? says.minute : fill(says.minutes, minutes));
}

function shown(track) {
  const which = element('red-filter').value;
  if (which === 'unsure') return unsure(track);
  return which !== 'now' || boxAt(track, at()) !== null;
}

function draw(fresh) {
  const busy = now.doing !== 'nothing', progress = element('red-progress'), make = element('red-make'), search = element('red-search');
  search.disabled = busy; element('red-stop').hidden = !busy; progress.hidden = !busy;
  search.textContent = now.searched ? says.searchAgain : now.searched_part ? says.searchOn : says.search;
  element('red-again').hidden = busy || !now.searched;
  for (const id of ['red-draw', 'red-mute', 'red-rest']) element(id).disabled = now.doing === 'making';
  progress.max = now.of || 1; progress.value = now.done || 0;
  const part = Math.floor(100 * (now.done || 0) / (now.of || 1));
  element('red-says').textContent = busy ? `${fill(now.doing === 'searching' ? says.searching : says.making, part)}, ${wait(now.left_s)}` : now.searched && plan ? fill(says.found, plan.tracks.length) : '';
  if (now.problem) { element('red-problem').textContent = `${says.failed} ${now.problem}`; element('red-problem').hidden = false; }
  for (const row of element('red-watched').children) row.lastElementChild.textContent = fill(says.watched, clock(now.watched_s[row.dataset.official] ?? 0), clock(now.length_s ?? 0));
  const doubts = Object.values(now.unsettled).flat();
  element('red-doubts').textContent = doubts.length ? fill(says.doubts, Object.keys(now.unsettled).length) : '';
  element('red-settle').hidden = !doubts.length;
  element('red-settle').disabled = busy || doubts.some(([from, until]) => now.unwatched.some(([a, b]) => a < until && from < b));
  element('red-why').textContent = now.searched && !now.ready && !busy && !now.made ? now.why : '';
  if (make) make.disabled = !now.ready || Boolean(now.made);
  if (now.made && element('red-made').hidden) { element('red-made').prepend(`${says.done} `); element('red-made').hidden = false; }
  const todo = now.unwatched.map(([from, until]) => `${from}-${until}`).join();
  if (element('red-todo-list').dataset.shown !== todo) {
    element('red-todo-list').dataset.shown = todo;
    element('red-todo').textContent = now.unwatched.length ? says.todo : '';
    element('red-todo-list').replaceChildren(...now.unwatched.slice(0, 12).map(([from, until]) => button(`${clock(from)} – ${clock(until)}`, () => preview(from))));
  }
  if (!fresh || !plan) return;
  element('red-rest').checked = plan.rest_hidden;
  element('red-detector').textContent = plan.detector === '-' ? '' : plan.detector;
  list();
}

function list() {
  if (!plan) return;
  const focused = document.activeElement?.closest?.('#red-lanes [data-track]')?.dataset.track;
  element('red-lanes').replaceChildren(...plan.tracks.filter(shown).slice(0, MOST_LANES).map(lane), ...plan.mutes.map(muted));
  if (focused) part.querySelector(`[data-track="${focused}"] .redaction__name`)?.focus();
}

function preview(from) {
  if (previewing) go(from); else look(true, from);
  film.play().catch(() => {}); // stopped meanwhile: the room says why
}

function look(preview, from = null) { // the preview has an address of its own: what was fetched before is another plan's
  tellPlayed(); previewing = preview; seenPicture = now.picture;
  element('red-original').setAttribute('aria-pressed', String(!preview)); element('red-preview').setAttribute('aria-pressed', String(preview));
  reroute(preview ? address => address.replace('/index.m3u8', `/onherkenbaar/index.m3u8?plan=${now.picture}`) : address => address, from);
}

element('red-search').addEventListener('click', () => act('zoeken'));
element('red-stop').addEventListener('click', () => act('stoppen'));
element('red-original').addEventListener('click', () => look(false));
element('red-preview').addEventListener('click', () => look(true));
element('red-make')?.addEventListener('click', () => act('maken'));
element('red-rest').addEventListener('change', event => edit({ type: 'rest', hidden: event.target.checked }));
element('red-draw').addEventListener('click', () => {
  const from = at(), until = Math.min(plan.length_s, from + Number(element('red-seconds').value || 10));
  begin(box => { const drawn = { type: 'draw', box, from_s: from, until_s: until }; return element('red-follow').checked ? act('volgen', drawn) : edit(drawn); }, [0.4, 0.3, 0.2, 0.35]);
});
element('red-mute').addEventListener('click', event => {
  if (muteFrom === null) { muteFrom = at(); event.target.textContent = says.muteUntil; return; }
  const [from, until] = [Math.min(muteFrom, at()), Math.max(muteFrom, at())];
  muteFrom = null; event.target.textContent = says.muteFrom;
  edit({ type: 'mute', from_s: from, until_s: until });
});
element('red-settle').addEventListener('click', () => edit({ type: 'settle', tracks: Object.keys(now.unsettled) }));
element('red-filter').addEventListener('change', list);
film.addEventListener('seeked', () => { if (element('red-filter').value === 'now') list(); });
for (const event of ['pause', 'ended']) film.addEventListener(event, tellPlayed);
setInterval(tellPlayed, TELL_MS);
setInterval(ask, POLL_MS);
ask(); paint();
