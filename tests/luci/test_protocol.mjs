// The protocol onebox on LuCI's own page of interfaces.
//
// Limits: only where LUCI_ROOT names a checkout of LuCI; the stand-in has no such page.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Router } from './router.mjs';
import { Skipped } from './skipped.mjs';

const section = (type, name, index, values) => ({ '.type': type, '.name': name, '.anonymous': false, '.index': index, ...values });

// A router with this page's packages and calls.
class Network extends Router {
	constructor({ main = {}, errors = [] } = {}) {
		super();
		Object.assign(this.uci.onebox.main, main);
		this.errors = errors;
		this.uci.network = {
			wan: section('interface', 'wan', 0, { proto: 'dhcp', device: 'eth1' }),
			vpn: section('interface', 'vpn', 1, { proto: 'onebox' })
		};
		this.uci.firewall = {
			lan: section('zone', 'lan', 0, { name: 'lan', network: [ 'lan' ], input: 'ACCEPT', forward: 'ACCEPT', output: 'ACCEPT' }),
			wan: section('zone', 'wan', 1, { name: 'wan', network: [ 'wan' ], input: 'REJECT', forward: 'REJECT', output: 'ACCEPT', masq: '1' })
		};
		Object.assign(this.uci, { wireless: {}, dhcp: {}, system: {} });
		this.committed = JSON.parse(JSON.stringify(this.uci));
	}

	luci_getFeatures() { return [ 0, { firewall: true, firewall4: true } ] }
	network_interface_dump() {
		return [ 0, { interface: [
			{ interface: 'wan', up: true, pending: false, available: true, autostart: true, proto: 'dhcp', device: 'eth1', l3_device: 'eth1', data: {} },
			{ interface: 'vpn', up: false, pending: false, available: true, autostart: false, proto: 'onebox', data: {}, errors: this.errors.map(code => ({ subsystem: 'onebox', code })) }
		] } ];
	}
	network_get_proto_handlers() { return [ 0, { onebox: { no_device: true }, dhcp: { no_device: false } } ] }
	luci_rpc_getNetworkDevices() { return [ 0, { eth1: { name: 'eth1', type: 1, devtype: 'ethernet', up: true, mtu: 1500, flags: {}, link: {}, stats: {} } } ] }
	luci_rpc_getHostHints() { return [ 0, {} ] }
	luci_rpc_getBoardJSON() { return [ 0, { network: {} } ] }
	luci_rpc_getWirelessDevices() { return [ 0, {} ] }
	luci_rpc_getDHCPLeases() { return [ 0, { dhcp_leases: [], dhcp6_leases: [] } ] }
	luci_rpc_getDUIDHints() { return [ 0, {} ] }
	file_list({ path }) { return [ 0, { entries: path.endsWith('/protocol') ? [ { name: 'onebox.js', type: 'file' } ] : [] } ] }
	uci_changes() { return [ 0, { changes: {} } ] }
}

async function open(browser, router) {
	if (!process.env.LUCI_ROOT)
		throw new Skipped('LUCI_ROOT is not set');
	if (!existsSync(join(process.env.LUCI_ROOT, 'modules/luci-mod-network')))
		throw new Skipped('LUCI_ROOT has no modules/luci-mod-network');

	const page = await browser.open('interfaces', router);

	await page.waitForSelector('[data-sid="vpn"]');

	return page;
}

async function edit(page) {
	await page.click('[data-sid="vpn"] button:has-text("Edit")');
	await page.waitForSelector('.modal [data-name="_tunnel"] select');

	return page.locator('.modal [data-name="_tunnel"] select');
}

const save = page => page.click('.modal button:has-text("Save")').then(() => page.waitForSelector('.modal', { state: 'hidden' }));

export default {
	async 'an interface of the protocol is shown with its error in words'(browser) {
		const page = await open(browser, new Network({ main: { netifd: 'vpn' }, errors: [ 'NOT_RUNNING' ] }));

		await page.waitForSelector('[data-sid="vpn"] >> text=onebox does not run');
		const text = await page.textContent('[data-sid="vpn"]');

		assert.match(text, /Bonded tunnel \(onebox\)/);
		assert.doesNotMatch(text, /Unsupported protocol/);
		assert.deepEqual(page.errors, []);
	},

	async 'a new interface becomes the tunnel, in a zone of the firewall'(browser) {
		const router = new Network();
		const page = await open(browser, router);
		const routes = await edit(page);

		assert.equal(await routes.inputValue(), 'program');
		await page.locator('.modal li[data-tab="firewall"] a:visible').click();
		await page.click('.modal [data-name="_zone"] .cbi-dropdown');
		await page.click('.modal [data-name="_zone"] li[data-value="wan"]');
		await save(page);
		await page.click('.cbi-page-actions .cbi-button-save');
		await page.waitForFunction(() => !document.querySelector('.spinning'));
		const main = router.sections('onebox')[0];

		assert.deepEqual([ main.netifd, main.netifd_routes ], [ 'vpn', '0' ]);
		assert.deepEqual(router.uci.firewall.wan.network, [ 'wan', 'vpn' ]);
		assert.deepEqual(page.errors, []);
	},

	async 'routes by metric, and a tunnel that is none any more'(browser) {
		for (const [ wanted, stored ] of [ [ 'interface', [ 'vpn', undefined ] ], [ '', [ undefined, undefined ] ] ]) {
			const router = new Network({ main: { netifd: 'vpn', netifd_routes: '0' } });
			const page = await open(browser, router);
			const routes = await edit(page);

			assert.equal(await routes.inputValue(), 'program');
			await routes.selectOption(wanted);
			await save(page);
			await page.click('.cbi-page-actions .cbi-button-save');
			await page.waitForFunction(() => !document.querySelector('.spinning'));
			const main = router.sections('onebox')[0];

			assert.deepEqual([ main.netifd, main.netifd_routes ], stored);
			assert.deepEqual(page.errors, []);
		}
	},

	async 'another interface is the tunnel: this one does not become it by being looked at'(browser) {
		const router = new Network({ main: { netifd: 'other' } });
		const page = await open(browser, router);

		assert.equal(await (await edit(page)).inputValue(), '');
		await save(page);
		await page.click('.cbi-page-actions .cbi-button-save');
		await page.waitForFunction(() => !document.querySelector('.spinning'));
		assert.equal(router.sections('onebox')[0].netifd, 'other');
	}
};
