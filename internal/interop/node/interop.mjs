// Runs stock JavaScript libraries against a Signet server. Argument: a JSON object with issuer, clients
// [{id, secret, audience, scope, alg}]. Prints one line a check and exits 1 when one fails.
import assert from 'node:assert/strict'
import http from 'node:http'
import { once } from 'node:events'
import express from 'express'
import { auth, requiredScopes } from 'express-oauth2-jwt-bearer'
import { createRemoteJWKSet, jwtVerify } from 'jose'
import * as client from 'openid-client'

const { issuer, clients } = JSON.parse(process.argv[2])
let failed = 0

async function check(name, run) {
  try {
    await run()
    console.log(`ok ${name}`)
  } catch (error) {
    failed++
    console.log(`not ok ${name}: ${error.stack}`)
  }
}

// openid-client with its defaults: discovery, then the client credentials grant.
async function token({ id, secret, audience, scope }) {
  const config = await client.discovery(new URL(issuer), id, undefined, client.ClientSecretBasic(secret), {
    execute: [client.allowInsecureRequests], // the test server speaks http on loopback
  })
  return client.clientCredentialsGrant(config, { resource: audience, scope })
}

// A resource server behind express-oauth2-jwt-bearer, told nothing but issuer and audience.
async function guarded({ audience, scope, alg }, run) {
  const app = express()
  app.use(auth({ issuerBaseURL: issuer, audience, tokenSigningAlg: alg }))
  app.get('/guarded', requiredScopes(scope), (request, response) => response.json(request.auth.payload))
  app.use((error, request, response, next) => response.status(error.status ?? 500).json({ error: error.message }))
  const server = http.createServer(app).listen(0, '127.0.0.1')
  await once(server, 'listening')
  try {
    await run(`http://127.0.0.1:${server.address().port}/guarded`)
  } finally {
    server.close()
    server.closeAllConnections()
  }
}

for (const machine of clients) {
  const { alg, audience, id, scope } = machine
  let answer
  await check(`openid-client gets a token (${alg})`, async () => {
    answer = await token(machine)
    assert.equal(answer.token_type, 'bearer') // openid-client lower-cases it
    assert.equal(answer.scope, scope)
    assert.ok(answer.expiresIn() > 0)
  })
  await check(`openid-client introspects and revokes (${alg})`, async () => {
    const config = await client.discovery(new URL(issuer), id, undefined, client.ClientSecretBasic(machine.secret), {
      execute: [client.allowInsecureRequests],
    })
    const other = await client.clientCredentialsGrant(config, { resource: audience, scope })
    assert.equal((await client.tokenIntrospection(config, other.access_token)).active, true)
    await client.tokenRevocation(config, other.access_token)
    assert.deepEqual(await client.tokenIntrospection(config, other.access_token), { active: false })
  })
  await check(`jose verifies (${alg})`, async () => {
    const { payload, protectedHeader } = await jwtVerify(
      answer.access_token,
      createRemoteJWKSet(new URL(`${issuer}/.well-known/jwks.json`)),
      { issuer, audience, typ: 'at+jwt', algorithms: [alg], requiredClaims: ['sub', 'client_id', 'jti', 'iat', 'exp', 'scope'] },
    )
    assert.equal(payload.client_id, id)
    assert.equal(protectedHeader.alg, alg)
  })
  await check(`jose refuses another audience (${alg})`, () =>
    assert.rejects(jwtVerify(answer.access_token, createRemoteJWKSet(new URL(`${issuer}/.well-known/jwks.json`)), {
      issuer,
      audience: 'https://other.test',
    })))
  await check(`express-oauth2-jwt-bearer lets it in (${alg})`, () =>
    guarded(machine, async (url) => {
      const response = await fetch(url, { headers: { authorization: `Bearer ${answer.access_token}` } })
      assert.equal(response.status, 200, await response.clone().text())
      assert.equal((await response.json()).client_id, id)
      const anonymous = await fetch(url)
      assert.equal(anonymous.status, 401)
      const forged = await fetch(url, { headers: { authorization: `Bearer ${answer.access_token.slice(0, -8)}AAAAAAAA` } })
      assert.equal(forged.status, 401)
    }))
}

process.exit(failed === 0 ? 0 : 1)
