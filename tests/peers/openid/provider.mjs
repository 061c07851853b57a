// A certified OpenID provider (oidc-provider) as a municipality's identity provider, for the tests of signing in.
// Usage: node provider.mjs PORT REDIRECT_URI LEAVE_URI. Its page asks who one is and whether with a second factor.
import { createServer } from 'node:http';
import Provider, { errors } from 'oidc-provider';

const [port, redirect, leave] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
const groups = { 'o-101': ['bodycam-coordinatie'], 'o-102': ['bodycam-clustermanagers'], 'o-103': ['bodycam-privacy'] };

const provider = new Provider(issuer, {
  clients: [{
    client_id: 'vier-ogen', client_secret: 'a-secret-of-the-tests-that-is-long-enough', redirect_uris: [redirect],
    post_logout_redirect_uris: [leave], response_types: ['code'], grant_types: ['authorization_code'],
    token_endpoint_auth_method: 'client_secret_basic',
  }],
  cookies: { keys: ['of-the-tests'] },
  conformIdTokenClaims: false,
  claims: { openid: ['sub', 'acr', 'amr', 'groups', 'employee'] },
  acrValues: ['urn:two', 'urn:one'],
  pkce: { required: () => true },
  features: { devInteractions: { enabled: false }, rpInitiatedLogout: {
    enabled: true,
    logoutSource: (ctx, form) => { ctx.body = `<!doctype html><title>Afmelden</title>${form}<button form="op.logoutForm" name="logout" value="yes">Ook hier afmelden</button>`; },
  } },
  findAccount: (_ctx, id) => ({ accountId: id, claims: () => ({ sub: `subject-of-${id}`, employee: id, groups: groups[id] ?? ['iedereen'] }) }),
  interactions: { url: (_ctx, interaction) => `/hier/${interaction.uid}` },
  loadExistingGrant: async ctx => {
    const grant = new ctx.oidc.provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
    grant.addOIDCScope('openid');
    await grant.save();
    return grant;
  },
});

const show = uid => `<!doctype html><html lang="nl"><title>Gemeente</title><form method="post" action="/hier/${uid}">
<label>Wie <input name="who"></label><label><input type="checkbox" name="second" value="1" checked> Tweede factor</label>
<button>Verder</button></form>`;

async function ask(request, response) {
  if (request.method !== 'POST') {
    const { uid } = await provider.interactionDetails(request, response);
    response.setHeader('content-type', 'text/html; charset=utf-8');
    response.end(show(uid));
    return;
  }
  const parts = [];
  for await (const part of request) parts.push(part);
  const said = new URLSearchParams(Buffer.concat(parts).toString());
  const strong = said.has('second');
  await provider.interactionFinished(request, response, { login: {
    accountId: said.get('who'), acr: strong ? 'urn:two' : 'urn:one', amr: strong ? ['pwd', 'otp', 'mfa'] : ['pwd'],
  } });
}

const answer = provider.callback();
createServer((request, response) => {
  if (!request.url.startsWith('/hier/')) return answer(request, response);
  ask(request, response).catch(problem => {
    response.statusCode = problem instanceof errors.SessionNotFound ? 400 : 500;
    response.end(String(problem));
  });
}).listen(Number(port), '127.0.0.1', () => console.log('open'));
