// The viewing room in the browser: says every second that its person is there, plays while both are, and stops at the
// first doubt. It holds no key and keeps nothing: when it stops, what was fetched is dropped.

import Hls from './nlds/hls.light.min.mjs';
import { keysIn, send, sit, tell } from './key.js';
import { letGo } from './live.js';

const room = document.getElementById('room');
const player = document.getElementById('player');
const film = document.getElementById('film');
const veil = document.getElementById('veil');
const says = document.getElementById('room-says');
const csrf = document.body.dataset.csrf;
const base = `/kijkkamer/${room.dataset.room}`;
const BEAT_MS = 1000, LOST_MS = 3000, AGAIN_MS = 5000, STEP_S = 5;
const element = id => document.getElementById(id);
const pre = Number(player?.dataset.pre || 0);
let length = Number(player?.dataset.length || 0);
let hls = null, playing = null, heard = performance.now(), seated = false, left = false, allowed = false, resumeAt = 0, told = '';

const bound = room.dataset.bound === 'yes'; // with security keys a seat is this page's, not the browser's
let seat = ''; // what proves it: in memory only
let route = address => address; // where the film comes from
const post = (path, options = {}) => fetch(`${base}/${path}`, { method: 'POST', headers: { 'X-CSRF-Token': csrf, 'X-Seat': seat }, ...options });
const facts = () => element('room-facts')?.dataset ?? {};

async function attempt(act) { // whether it was done; if not, everybody can read why
  element('key-says').hidden = true;
  try { await act(); return true; } catch (problem) { tell(element('key-says'), problem); return false; }
}

function say(what) { if (told === what) return; told = what; says.textContent = what; if (veil) veil.textContent = what; }

// --- playing ------------------------------------------------------------------------------------------------------

function open(address) {
  if (playing === address) return;
  playing = address; address = route(address);
  player.hidden = false; veil.hidden = true;
  if (Hls.isSupported()) {
    hls = new Hls({ enableWorker: false, maxBufferLength: 6, maxMaxBufferLength: 6, backBufferLength: 10, startPosition: resumeAt, xhrSetup: request => { if (bound) request.setRequestHeader('X-Seat', seat); },
      fragLoadPolicy: { default: { maxTimeToFirstByteMs: 20000, maxLoadTimeMs: 20000, timeoutRetry: { maxNumRetry: 1, retryDelayMs: 300, maxRetryDelayMs: 300 }, errorRetry: { maxNumRetry: 1, retryDelayMs: 300, maxRetryDelayMs: 300 } } } });
    hls.loadSource(address); hls.attachMedia(film);
    const mine = hls;
    hls.on(Hls.Events.ERROR, (_, { fatal, type }) => { // it gave up for good: it is tried anew, from here, as long as the room is open
      if (fatal) setTimeout(() => { if (mine === hls) shut(type === Hls.ErrorTypes.NETWORK_ERROR ? player.dataset.saysLost : player.dataset.saysBroken); });
    });
  } else { film.src = address; film.currentTime = resumeAt; }
  say(player.dataset.saysOpen);
}

function shut(why) { // drop the picture and everything that was fetched
  allowed = false;
  if (playing !== null) {
    resumeAt = film.currentTime || resumeAt;
    film.pause(); hls?.destroy(); hls = null; playing = null;
    film.removeAttribute('src'); film.load();
  }
  element('marks')?.replaceChildren(); // they are about the footage
  if (player && !player.hidden) { veil.hidden = false; say(why); }
}

function follow() { // do what the room's state says
  const { state, address } = facts();
  if (!player) return;
  if (state === 'open' && address && seated && allowed) open(address);
  else if (state === 'paused') shut(player.dataset.saysPaused);
  else if (state === 'closed' || state === 'refused') { shut(player.dataset.saysClosed); player.hidden = true; }
}

export const headers = () => ({ 'X-CSRF-Token': csrf, 'X-Seat': seat });

export function reroute(way, from = null) { // play another rendition of the same film, from here or from elsewhere
  route = way;
  if (playing === null) return;
  shut(''); allowed = true;
  if (from !== null) resumeAt = from;
  follow();
}

// --- being there --------------------------------------------------------------------------------------------------

async function beat() {
  const { state } = facts();
  if (left || !['approved', 'open', 'paused'].includes(state)) return follow(); // who left is silent, even where nobody heard of it
  try {
    const answer = await post('aanwezig', { signal: AbortSignal.timeout(2500) });
    if (!answer.ok) throw new Error(String(answer.status));
    const now = await answer.json();
    heard = performance.now();
    seated = now.seats[room.dataset.me] === true;
    allowed = now.state === 'open';
    if (!allowed) shut(now.state === 'closed' ? player.dataset.saysClosed : player.dataset.saysPaused);
    follow();
  } catch { if (performance.now() - heard > LOST_MS) shut(player.dataset.saysLost); }
}

async function takeSeat(button) {
  button.disabled = await attempt(async () => { if (bound) ({ seat } = await sit(room.dataset.room, keysIn(room))); else await send(`${base}/plaatsnemen`); });
  if (button.disabled) left = false;
}

room.addEventListener('click', async event => {
  if (event.target.closest('#sit')) { event.target.disabled = true; await takeSeat(event.target); await beat(); }
  if (event.target.closest('#leave')) { left = true; seated = false; shut(player.dataset.saysPaused); await attempt(() => send(`${base}/weg`, null, headers())); }
});
addEventListener('pagehide', () => { if (seated) { shut(''); post('weg', { keepalive: true }).catch(() => {}); } }); // nobody is there to read it
setInterval(beat, BEAT_MS);
new MutationObserver(follow).observe(room, { subtree: true, attributes: true, attributeFilter: ['data-state', 'data-address'], childList: true });
document.addEventListener('news', event => { if (event.detail.kind === 'room' && event.detail.data.room === room.dataset.room) beat(); });
beat();

// --- the controls -------------------------------------------------------------------------------------------------

if (player) {
  const seek = element('seek'), time = element('time'), play = element('play'), mute = element('mute'), speed = element('speed');
  const clock = s => `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, '0')}`;
  const begin = new Date(player.dataset.begin);
  element('pre-part').style.width = `${(pre / length) * 100}%`;
  element('press-mark').style.insetInlineStart = `${(pre / length) * 100}%`;
  for (const gap of player.dataset.gaps.split(',').filter(Boolean)) {
    const mark = document.createElement('div'); mark.className = 'player__gap';
    mark.style.insetInlineStart = `${(Number(gap) / length) * 100}%`; seek.before(mark);
  }
  const place = s => `${clock(s)}${s < pre ? `, ${player.dataset.before}` : ''}`;
  function draw() {
    const at = Math.min(film.currentTime, length) // hls.js puts the first second at 0, whatever the camera's own count was;
    if (document.activeElement !== seek || !seek.matches(':active')) seek.value = at;
    element('done-part').style.width = `${(at / length) * 100}%`;
    seek.setAttribute('aria-valuetext', place(at));
    const wall = new Date(begin.getTime() + at * 1000);
    time.textContent = `${clock(at)} / ${clock(length)} · ${wall.toLocaleTimeString(document.documentElement.lang, { timeZone: 'Europe/Amsterdam' })}`;
    play.textContent = film.paused ? player.dataset.play : player.dataset.pause;
  }
  const go = s => { film.currentTime = Math.max(0, Math.min(length - 0.01, s)); draw(); };
  const toggle = () => { if (playing) { if (film.paused) film.play().catch(() => {}); else film.pause(); } }; // stopped meanwhile: the room says why
  let between_s = Infinity, last = null;
  const rate = () => (between_s < 1 ? Math.round(1 / between_s) : 15); // pictures per second: what simulated cameras film, until this film shows its own
  const look = (_, shown) => { // the shortest time between two pictures in a row, while it plays: a busy machine leaves some out
    const between = last && !film.paused && !film.seeking && shown.presentedFrames === last.presentedFrames + 1 ? shown.mediaTime - last.mediaTime : 0;
    if (between > 1 / 130 && between < 1 / 4) between_s = Math.min(between_s, between);
    last = shown; film.requestVideoFrameCallback(look);
  };
  film.addEventListener('seeking', () => { last = null; });
  film.requestVideoFrameCallback?.(look);
  const frame = by => { film.pause(); go((Math.floor(film.currentTime * rate() + 1e-3) + by + 0.5) / rate()); };
  const hush = () => { film.muted = !film.muted; mute.setAttribute('aria-pressed', String(film.muted)); mute.textContent = film.muted ? player.dataset.unmute : player.dataset.mute; };
  const full = () => (document.fullscreenElement ? document.exitFullscreen() : player.requestFullscreen());
  const acts = { play: toggle, back: () => go(film.currentTime - STEP_S), forth: () => go(film.currentTime + STEP_S), 'frame-back': () => frame(-1), 'frame-forth': () => frame(1), 'to-press': () => go(pre), mute: hush, full };
  for (const [id, act] of Object.entries(acts)) element(id).addEventListener('click', act);
  seek.addEventListener('input', () => go(Number(seek.value)));
  speed.addEventListener('change', () => { film.playbackRate = Number(speed.value); });
  for (const name of ['timeupdate', 'play', 'pause', 'seeked', 'loadedmetadata']) film.addEventListener(name, draw);
  // bookmarks: the server keeps them with the case and shows them only while the room is open
  const list = element('marks'), form = element('mark-form');
  let asked = 0;
  async function readMarks() {
    if (!list || facts().state !== 'open') return;
    const mine = ++asked;
    const found = await fetch(`${base}/bladwijzers?opname=${player.dataset.recording}`).then(answer => (answer.ok ? answer.json() : null)).catch(() => null);
    if (found === null) { setTimeout(() => { if (mine === asked) readMarks(); }, AGAIN_MS); return; }
    await letGo();
    if (mine !== asked || playing === null) return; // asked again meanwhile, or the room shut: they are about the footage
    list.replaceChildren(); for (const old of player.querySelectorAll('.player__mark')) old.remove();
    for (const mark of found) {
      const item = document.createElement('li'), jump = document.createElement('button');
      jump.type = 'button'; jump.className = 'player__button'; jump.textContent = `${clock(mark.at_s)} ${mark.label}`; jump.title = mark.by;
      jump.addEventListener('click', () => go(mark.at_s)); item.append(jump);
      if (mark.mine) {
        const away = document.createElement('button');
        away.type = 'button'; away.className = 'player__button'; away.textContent = '×'; away.setAttribute('aria-label', `${list.dataset.remove}: ${mark.label}`);
        away.addEventListener('click', async () => { await attempt(() => send(`${base}/bladwijzers/${mark.id}/weg`, null, headers())); readMarks(); }); item.append(away);
      }
      list.append(item);
      const dot = document.createElement('div'); dot.className = 'player__mark'; dot.style.insetInlineStart = `${(mark.at_s / length) * 100}%`; seek.before(dot);
    }
  }
  const note = () => { film.pause(); form.hidden = false; form.label.focus(); };
  form?.addEventListener('submit', async event => {
    event.preventDefault();
    const mark = { recording: player.dataset.recording, at_s: film.currentTime, label: form.label.value };
    if (!await attempt(() => send(`${base}/bladwijzers`, mark, headers()))) return;
    form.reset(); form.hidden = true; element('mark').focus(); readMarks();
  });
  form?.addEventListener('keydown', event => { if (event.key === 'Escape') { form.hidden = true; element('mark').focus(); } event.stopPropagation(); });
  element('mark')?.addEventListener('click', note);
  document.addEventListener('news', event => { if (event.detail.kind === 'mark' && event.detail.data.room === room.dataset.room) readMarks(); });
  film.addEventListener('loadedmetadata', readMarks);
  const keys = { ' ': toggle, k: toggle, j: acts.back, l: acts.forth, ArrowLeft: acts.back, ArrowRight: acts.forth, ',': acts['frame-back'], '.': acts['frame-forth'], m: hush, f: full, b: note };
  player.addEventListener('keydown', event => { // only while the focus is in the player (WCAG 2.1.4)
    const act = keys[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey || event.target.matches('select') || (act === note && !form)) return;
    if (event.key === ' ' && event.target.matches('button, summary')) return;
    event.preventDefault(); act();
  });
  film.addEventListener('durationchange', () => { // how long a film from elsewhere is, is known once it was opened
    if (!Number.isFinite(film.duration) || Math.abs(film.duration - length) < 1) return;
    length = film.duration; seek.max = String(length); draw();
  });
  film.addEventListener('contextmenu', event => event.preventDefault());
  draw();
}
