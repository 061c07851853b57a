// What somebody typed survives that a page is drawn anew: it moves to the fresh form, and where that form is gone the
// old piece stays as it is, with a word about it.

const FIELDS = 'input:not([type=hidden]),textarea,select';

function touched(field) { // differs from what the page came with
  if (field.matches('select')) return field.selectedIndex !== Math.max([...field.options].findIndex(each => each.defaultSelected), 0);
  if (field.type === 'checkbox' || field.type === 'radio') return field.checked !== field.defaultChecked;
  return field.value !== field.defaultValue;
}

function nameOf(field) { // which field it is, of which form, with which button: the same steps have the same address
  const form = field.form;
  const buttons = form ? [...form.querySelectorAll('button[name]')].map(button => button.value) : [];
  const choice = field.type === 'checkbox' || field.type === 'radio' ? field.value : '';
  return JSON.stringify([form?.getAttribute('action') ?? '', buttons, field.name, choice]);
}

function put(from, to) {
  if (to.matches('select')) to.value = from.value;
  else if (to.type === 'checkbox' || to.type === 'radio') to.checked = from.checked;
  else to.value = from.value;
}

export const typed = old => [...old.querySelectorAll(FIELDS)].some(touched);

export function moveTyped(old, fresh) { // whether everything that was typed has a place in the fresh piece, and stands there now
  const changed = [...old.querySelectorAll(FIELDS)].filter(touched);
  if (!changed.length) return true;
  const there = new Map([...fresh.querySelectorAll(FIELDS)].map(field => [nameOf(field), field]));
  const gone = changed.filter(field => field.type === 'file' || !there.has(nameOf(field)) || (field.matches('select') && ![...there.get(nameOf(field)).options].some(each => each.value === field.value)));
  if (gone.some(field => field.type !== 'radio' || field.checked)) return false; // a choice that was taken back needs no place
  for (const field of changed) if (there.has(nameOf(field))) put(field, there.get(nameOf(field)));
  return true;
}

export function sayOld(piece, words) { // said once, above what stays
  if (!words || piece.querySelector(':scope > .outdated')) return;
  const note = document.createElement('p');
  note.className = 'outdated badge badge--warn';
  note.setAttribute('role', 'status');
  note.textContent = words;
  piece.prepend(note);
}
