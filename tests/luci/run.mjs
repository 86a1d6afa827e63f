// Plays the tests in a browser, one after the other, and writes the screenshots.
//
//     node run.mjs [PART OF A NAME…]

import { Browser } from './browser.mjs';
import { runtime } from './server.mjs';
import checks from './test_checks.mjs';
import status from './test_status.mjs';
import overview from './test_overview.mjs';
import setup from './test_setup.mjs';
import settings from './test_settings.mjs';
import screens from './screens.mjs';

const wanted = process.argv.slice(2);
const tests = Object.entries({ checks, status, overview, setup, settings, screens })
	.flatMap(([ group, list ]) => Object.entries(list).map(([ name, run ]) => [ `${group}: ${name}`, run ]))
	.filter(([ name ]) => wanted.length === 0 || wanted.some(word => name.includes(word)));
const failures = [];

console.log(`runtime: ${runtime}`);

const browser = await Browser.start();

for (const [ name, run ] of tests) {
	try {
		await run(browser);
		console.log(`test ${name} ... ok`);
	}
	catch (error) {
		failures.push([ name, error ]);
		console.log(`test ${name} ... FAILED`);
	}

	// A page that a test has left open would go on asking the next one's router.
	for (const page of browser.context.pages().slice(1))
		await page.close();
}

await browser.stop();

if (failures.length)
	console.log('failures:');
for (const [ name, error ] of failures)
	console.log(`\n---- ${name}\n${error.stack}`);

console.log(`test result: ${failures.length ? 'FAILED' : 'ok'}. ${tests.length - failures.length} passed; ${failures.length} failed; 0 ignored`);
process.exitCode = failures.length ? 1 : 0;
