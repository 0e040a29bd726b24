// An oidc-provider over TLS on loopback for tests. The first line of standard input says how; the port goes to standard output.
// It ends when standard input does, so that it does not outlive the test.
import crypto from 'node:crypto';
import https from 'node:https';
import readline from 'node:readline';
import Provider, { errors } from 'oidc-provider';

const input = readline.createInterface({ input: process.stdin });
input.once('line', (line) => start(JSON.parse(line)));
input.once('close', () => process.exit());

function start({ clients, ca, cert, key }) {
  // A certificate that does not chain to the CA passes the handshake: refusing it is oidc-provider's part.
  const server = https.createServer({ ca, cert, key, requestCert: true, rejectUnauthorized: false });
  // A second address for clients with certificates, as mtls_endpoint_aliases (RFC 8705 section 5) names it.
  const alias = https.createServer({ ca, cert, key, requestCert: true, rejectUnauthorized: false });
  server.listen(0, '127.0.0.1', () => alias.listen(0, '127.0.0.1', () => {
    const { port } = server.address();
    const handler = serve(`https://127.0.0.1:${port}`, `https://127.0.0.1:${alias.address().port}`, clients);
    server.on('request', handler);
    alias.on('request', handler);
    console.log(JSON.stringify({ port, alias: alias.address().port }));
  }));
}

const resources = ['urn:tenant', 'https://api.example.com/orders'];

function serve(issuer, alias, clients) {
  const known = new Map(clients.map((c) => [c.id, c]));
  const provider = new Provider(issuer, {
    clients: clients.map((c) => ({
      client_id: c.id,
      client_secret: c.secret || undefined,
      token_endpoint_auth_method: c.method,
      token_endpoint_auth_signing_alg: c.alg || undefined,
      jwks: c.jwks || undefined,
      tls_client_auth_subject_dn: c.subject || undefined,
      grant_types: ['client_credentials'],
      response_types: [],
      redirect_uris: [],
    })),
    clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'tls_client_auth', 'self_signed_tls_client_auth', 'private_key_jwt'],
    enabledJWA: { clientAuthSigningAlgValues: ['RS256', 'PS256', 'ES256', 'ES384', 'EdDSA'] },
    discovery: { mtls_endpoint_aliases: { token_endpoint: `${alias}/token` } },
    ttl: { ClientCredentials: (ctx, token, client) => known.get(client.clientId).lifetime || 600 },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      introspection: { enabled: true },
      revocation: { enabled: true, allowedPolicy: () => true },
      mTLS: {
        enabled: true,
        tlsClientAuth: true,
        selfSignedTlsClientAuth: true,
        getCertificate: certificate,
        certificateAuthorized: (ctx) => ctx.socket.authorized,
        certificateSubjectMatches: (ctx, property, expected) => property === 'tls_client_auth_subject_dn' && subject(ctx) === expected,
      },
      // Two resource servers, of which each client may have some scopes: what else it asks for is dropped.
      resourceIndicators: {
        enabled: true,
        defaultResource: () => 'urn:tenant',
        getResourceServerInfo: (ctx, resource, client) => {
          if (!resources.includes(resource)) throw new errors.InvalidTarget();
          return { scope: known.get(client.clientId).scope || '', accessTokenFormat: 'opaque' };
        },
      },
    },
  });

  const requests = [];
  let held = Promise.resolve();
  let release = () => {};
  provider.use(async (ctx, next) => {
    if (ctx.path !== '/token') return next();
    const request = {};
    requests.push(request);
    await held;
    await next();
    request.client_id = ctx.oidc?.client?.clientId;
    request.status = ctx.status;
    request.alias = ctx.host === new URL(alias).host;
    request.resource = ctx.oidc?.body?.resource;
    request.audience = ctx.oidc?.body?.audience;
    if (ctx.headers.authorization) request.proof = 'basic';
    else if (ctx.oidc?.params?.client_secret) request.proof = 'body';
    else if (ctx.oidc?.params?.client_assertion) request.proof = 'assertion';
    else if (certificate(ctx)) request.proof = 'certificate';
  });

  const control = {
    '/control/requests': () => requests,
    '/control/hold': () => { held = new Promise((resolve) => { release = resolve; }); },
    '/control/release': () => release(),
  };
  const callback = provider.callback();
  return (req, res) => (req.url in control ? res.end(JSON.stringify(control[req.url]() ?? null)) : callback(req, res));
}

function certificate(ctx) {
  const { raw } = ctx.socket.getPeerCertificate();
  return raw && new crypto.X509Certificate(raw);
}

// subject is the certificate's subject as RFC 4514 writes it, for values without characters that it would escape.
function subject(ctx) {
  return certificate(ctx).subject.split('\n').reverse().join(',');
}
