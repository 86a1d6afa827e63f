// The box on LuCI's start page.

import assert from 'node:assert/strict';
import { catalogue } from './server.mjs';
import { Router, freshConfig } from './router.mjs';
import { newStatus } from './data.mjs';

export default {
	async 'a line for the whole, a row for each connection'(browser) {
		const page = await browser.open('overview', new Router({ status: newStatus('states') }));

		await page.waitForSelector('.ob-overview');
		const rows = await page.locator('.ob-overview tr').allTextContents();

		assert.equal(rows.length, 9);
		assert.match(rows[0], /Connected.*Connected over dsl alone/);
		assert.match(rows[1], /dsl.*41\.2 Mbit\/s down, 8\.3 Mbit\/s up, 18 ms/);
		assert.match(rows[5], /sat.*It adds 180 ms and would slow the others down/);
		assert.deepEqual(page.errors, []);
	},

	async 'not running: why'(browser) {
		const router = new Router({ status: null });

		router.service.running = false;
		router.problems = { usable: false, problems: 'error' };

		const page = await browser.open('overview', router);

		await page.waitForSelector('.ob-overview');
		assert.match(await page.textContent('.ob-overview'), /Not running.*settings have mistakes/);
		assert.deepEqual(page.errors, []);
	},

	async 'not there while nothing is set up'(browser) {
		const page = await browser.open('overview', new Router({ status: null, config: freshConfig() }));

		await page.waitForTimeout(600);
		assert.equal(await page.locator('.ob-overview').count(), 0);
		assert.deepEqual(page.errors, []);
	},

	async 'in German and Spanish'(browser) {
		for (const [ lang, pattern ] of [ [ 'de', /3 von 3 Anschlüssen gebündelt, 178 Mbit\/s im Download, das 2,3-Fache/ ], [ 'es', /3 de 3 enlaces unidos/ ] ]) {
			const page = await browser.open('overview', new Router(), { lang, texts: catalogue(lang) });

			await page.waitForSelector('.ob-overview');
			assert.match(await page.textContent('.ob-overview'), pattern);
			assert.deepEqual(page.errors, []);
		}
	}
};
