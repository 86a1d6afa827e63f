// A router whose object onebox is the program itself, with two connections to a server, all in
// namespaces of its own. What is not the program's is made up as ever (router.mjs).
//
// Why: recorded answers are only as good as the day they were written down. Here the pages meet what
// the program says today.

import { spawn, spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Router } from './router.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const binary = [ process.env.ONEBOX_BIN, join(root, 'target/release/onebox'), join(root, 'target/debug/onebox') ].find(path => path && existsSync(path));

// The router is in the first namespace, the server in one beside it.
const SCRIPT = `
unshare -n sleep infinity &
server=$!
until [ "$(readlink /proc/$server/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.02; done
in_server() { nsenter -t $server -n "$@"; }
in_server ip link set lo up
ip link set lo up
for n in 1 2; do
	ip link add wan$n type veth peer name isp$n netns $server
	ip addr add 10.$n.0.2/24 dev wan$n
	ip link set wan$n up
	in_server ip addr add 10.$n.0.1/24 dev isp$n
	in_server ip link set isp$n up
	ip route add default via 10.$n.0.1 dev wan$n metric $n
done
in_server ip addr add 198.51.100.1/32 dev lo
in_server "$ONEBOX" start -c server &
exec "$ONEBOX" start -c router
`;

const onebox = (command, input = '') => spawnSync(binary, [ command ], { input, encoding: 'utf8' }).stdout.trim();

// Why there can be no live router here; nothing if there can.
export function missing() {
	try { accessSync('/dev/net/tun', constants.W_OK) }
	catch { return '/dev/net/tun is missing or only for root' }

	if (process.getuid() !== 0)
		return 'not root';
	if (spawnSync('sh', [ '-c', 'command -v ip nft setpriv unshare nsenter' ]).status !== 0)
		return 'ip, nft, setpriv, unshare or nsenter is missing';

	return binary ? null : 'onebox is not built';
}

export class LiveRouter extends Router {
	constructor() {
		super();
		this.dir = mkdtempSync(join(tmpdir(), 'onebox-live-'));

		const keys = { router: onebox('genkey'), server: onebox('genkey') };
		const publicOf = name => onebox('pubkey', `${keys[name]}\n`);
		const main = name => `config onebox 'main'\n\toption enabled '1'\n\toption private_key '${keys[name]}'\n`
			+ `\toption control '${this.dir}/${name}.sock'\n\toption ubus_socket '${this.dir}/none'\n\toption state_dir '${this.dir}'\n`;

		writeFileSync(join(this.dir, 'server'), `${main('server')}\toption role 'server'\n\toption nat '0'\n\tlist address '10.99.0.1/24'\n`
			+ `config peer 'home'\n\toption public_key '${publicOf('router')}'\n\tlist allowed_ips '10.99.0.2/32'\n`, { mode: 0o600 });
		writeFileSync(join(this.dir, 'router'), `${main('router')}\tlist address '10.99.0.2/24'\n`
			+ `config peer 'vps'\n\toption public_key '${publicOf('server')}'\n\tlist endpoint '198.51.100.1:51830'\n\tlist allowed_ips '10.99.0.0/24'\n`, { mode: 0o600 });
		// Ends with this process, however that ends.
		this.process = spawn('setpriv', [ '--pdeathsig', 'KILL', 'unshare', '-np', '--fork', '--kill-child', '--mount-proc', 'sh', '-ec', SCRIPT ],
			{ cwd: this.dir, env: { ...process.env, ONEBOX: binary }, stdio: 'ignore' });
	}

	stop() {
		return new Promise(resolve => {
			this.process.on('exit', resolve);
			this.process.kill('SIGKILL');
		}).then(() => rmSync(this.dir, { recursive: true, force: true }));
	}

	// Asks the program; an error stands for an object that is not on the bus.
	ask(command, args = {}) {
		return new Promise((resolve, reject) => {
			const parts = [];

			createConnection(join(this.dir, 'router.sock')).on('error', reject)
				.on('data', part => parts.push(part)).on('end', () => {
					const { ok, result, error } = JSON.parse(Buffer.concat(parts).toString());

					ok ? resolve(result) : reject(new Error(error));
				}).write(`${JSON.stringify({ command, ...args })}\n`);
		});
	}

	one(request) {
		const [ , object, method, args ] = request.params ?? [];

		if (object !== 'onebox')
			return super.one(request);

		const reply = outcome => ({ jsonrpc: '2.0', id: request.id, ...outcome });

		return this.ask(method, args).then(result => reply({ result: result === null ? [ 0 ] : [ 0, result ] }),
			() => reply({ error: { code: -32000, message: 'Object not found' } }));
	}

	answer(request) {
		return Array.isArray(request) ? Promise.all(request.map(one => this.one(one))) : this.one(request);
	}
}
