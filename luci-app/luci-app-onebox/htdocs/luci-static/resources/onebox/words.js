'use strict';
'require baseclass';

/* Figures and states in words, as whole sentences that can be translated.
 *
 * Reasons and problems come from the program as codes with English sentences. Codes that are known
 * here are put into words, with what follows from them; of others the sentence is shown.
 */

/* What is not a language to the browser is English. */
const LANGUAGE = (function() {
	try { return Intl.getCanonicalLocales(document.documentElement.lang)[0] || 'en' }
	catch (e) { return 'en' }
})();

function number(value, digits) {
	return value.toLocaleString(LANGUAGE, { maximumSignificantDigits: digits, useGrouping: false });
}

function short(value) {
	return number(value, value >= 1000 ? 4 : 3);
}

/* 0.4 as such, 42 without what is noise. */
function plain(value) {
	return value >= 10 || value === 0 ? number(Math.round(value), 4) : number(value, value >= 1 ? 2 : 1);
}

const STATES = {
	active: _('In use'), backup: _('Backup'), probing: _('Probing'),
	suspect: _('In doubt'), held: _('Held out'), down: _('Down')
};

/* What look() has found, or the state of what runs: in a word, and in a line. */
const KINDS = {
	up: [ _('Connected'), _('Connected') ],
	connecting: [ _('Connecting'), _('Waiting for the first answer of %s') ],
	down: [ _('Down'), _('The server cannot be reached over any connection') ],
	disabled: [ _('Switched off'), _('Switched off') ],
	off: [ _('Switched off'), _('Switched off') ],
	refused: [ _('Not running'), _('Not running: the settings have mistakes') ],
	starting: [ _('Starting'), _('The program is running and does not answer yet') ],
	stopped: [ _('Not running'), _('Switched on, and not running') ],
	lost: [ _('No answer'), _('The router does not answer') ]
};

function kindOf(seen) {
	const kind = seen.status ? seen.status.state : seen.kind;

	return KINDS[kind] || [ kind, kind ];
}

/* Why a path is in its state, by the program's code; `value` is the number that comes with it. */
const REASONS = {
	in_use: path => path.metered
		? _('Carries data, sparingly, because it is metered.') : _('Carries data.'),
	backup_configured: () => _('Backup: not needed while the other connections work.'),
	opening: () => _('The server has not answered over this connection yet.'),
	returning: () => _('It answers again. A few more answers, and it carries data.'),
	silent: (path, value) => path.state === 'suspect'
		? _('Nothing has arrived for %d ms. What was on its way goes over the others.').format(value)
		: _('Nothing arrives over it any more. It is tried again all the time.'),
	lossy: (path, value) => _('It loses %d %% of the packets, and rests until that is better.').format(value),
	late: (path, value) => _('It adds %d ms and would slow the others down, so it is held out.').format(value),
	link_down: () => _('The link is down: cable pulled out, modem off, or no signal.'),
	no_address: () => _('The link has no address or no gateway: see the interface\'s own page.'),
	switched_off: () => _('Taken out by hand or by the settings.'),
	peer_closed: () => _('The server has closed the connection. It is opened again.'),
	quota_used_up: (path, value) => path.quotaMb
		? _('The quota of %s is used up: only a backup until it begins anew on %s.').format(volume(path.quotaMb), date(value))
		: _('The quota is used up: only a backup until it begins anew on %s.').format(date(value))
};

/* Problems by the program's code: what is wrong, and what to do about it. */
const PROBLEMS = {
	routes_refused: _('Addresses, routes or rules cannot be set: who else owns them?'),
	firewall_refused: _('The nftables table cannot be set: is kmod-nft-nat installed?'),
	switch_refused: _('A kernel switch (sysctl) cannot be set.'),
	name_unresolved: _('The server\'s name cannot be resolved: check it and the router\'s DNS.'),
	network_unwatched: _('Changes of the network go unnoticed.'),
	quota_unreadable: _('The file of quotas cannot be read: they count from zero.'),
	quota_unsaved: _('The file of quotas cannot be written: is there room?'),
	ubus_denied: _('ubus refuses something: does a second onebox run?'),
	control_socket: _('The command line cannot connect.'),
	tunnel_stopped: _('There is no tunnel: neither the new nor the old settings work.'),
	history_unsaved: _('The history of rates cannot be kept: is there room?'),
	networks_overlap: _('One network is at two places: give the LAN another one.'),
	clock_wrong: _('The clock is wrong: quotas and dates are, too. Can the time server be reached?'),
	server_refuses: _('Nothing listens at the server\'s UDP port: is the program running there, is the port right?'),
	server_unreachable: _('There is no way to the server: does the connection work, is the address right?'),
	server_silent: _('The server does not answer: does the program run there, is its UDP port open in its firewall and at its provider, is the code the last one?'),
	path_silent: _('The server does not answer over this connection: does it have internet, and let UDP pass?'),
	wrong_preshared_key: _('The router calls with another preshared key: join with a new code.'),
	wrong_version: _('The other end has another version: install the same one on both.'),
	false_acknowledgements: _('The other end lied about what it received: who has its key?'),
	accused_of_false_acknowledgements: _('The other end says that this one lied about what it received: have both the same version?')
};

/* Why a speed test gave nothing, by the program's code. */
const REFUSALS = {
	no_path: _('the link does not work'),
	quota_used_up: _('nothing is left of the quota'),
	server_too_old: _('the server knows no speed tests: update it'),
	server_busy: _('the server is busy with another test'),
	hour_used_up: _('the server sends no more for tests in this hour'),
	nothing_arrived: _('too little arrived'),
	stopped: _('it was ended before')
};

/* The day of a time in seconds, of UTC as the program counts. */
function date(seconds) {
	return new Date(seconds * 1000).toLocaleDateString(LANGUAGE, { day: 'numeric', month: 'long', timeZone: 'UTC' });
}

function volume(mb) {
	return mb >= 1000 ? _('%s GB').format(short(mb / 1000)) : _('%s MB').format(plain(mb));
}

/* Words of the program as a sentence. */
function sentence(words) {
	return words ? words.charAt(0).toUpperCase() + words.slice(1) + '.' : '';
}

function rate(kbps) {
	if (kbps >= 999500)
		return _('%s Gbit/s').format(short(kbps / 1e6));

	return kbps >= 1000 ? _('%s Mbit/s').format(short(kbps / 1000)) : _('%s kbit/s').format(short(Math.round(kbps)));
}

/* How many times as fast as the best link alone, if that is worth telling. */
function gain(bond) {
	const best = bond.best_single_down_kbps;
	const times = best > 0 ? bond.goodput_down_kbps / best : 0;

	return times >= 1.05 ? times : 0;
}

function bonded(peer) {
	const used = peer.paths.filter(path => path.state === 'active');
	const bond = peer.bond || {};
	const down = rate(bond.goodput_down_kbps || 0);
	const backup = peer.paths.find(path => path.state === 'backup');

	if (used.length === 0)
		return backup
			? _('Connected over the backup %s, %s down').format(backup.wan, down)
			: _('Connected, and every connection is in doubt at the moment');
	if (used.length === 1)
		return _('Connected over %s alone, %s down').format(used[0].wan, down);
	if (gain(bond))
		return _('Bonded over %d of %d links, %s down, %s × your best link')
			.format(used.length, peer.paths.length, down, number(gain(bond), 2));

	/* Not a number unless each of them was measured. */
	const room = used.reduce((sum, path) => sum + (path.capacity_down_kbps || NaN), 0);

	return room > 0
		? _('Bonded over %d of %d links, %s down of about %s')
			.format(used.length, peer.paths.length, down, rate(room))
		: _('Bonded over %d of %d links, %s down').format(used.length, peer.paths.length, down);
}

return baseclass.extend({
	rate: rate,
	volume: volume,

	bytes(count) {
		return volume(count / 1e6);
	},

	/* What the last test of a link, or of all together, has found. */
	tested(found) {
		const of = kbps => kbps == null ? '–' : rate(kbps);

		return _('Tested %s ago: %s down, %s up').format(this.duration(found.age_s), of(found.down_kbps), of(found.up_kbps));
	},

	/* Why a part of a test gave nothing. */
	untested(step) {
		return _('Not tested: %s').format(REFUSALS[step.error_code] || step.error);
	},

	ms(value) {
		return _('%s ms').format(plain(value));
	},

	percent(value) {
		return _('%s %%').format(plain(value));
	},

	/* A length of time, in its two largest units at most. */
	duration(seconds) {
		const s = Math.floor(seconds);

		if (s < 60)
			return _('%d s').format(s);
		if (s < 3600)
			return _('%d min').format(Math.floor(s / 60));
		if (s < 86400)
			return _('%d h %d min').format(Math.floor(s / 3600), Math.floor(s % 3600 / 60));

		return _('%d d %d h').format(Math.floor(s / 86400), Math.floor(s % 86400 / 3600));
	},

	time(seconds) {
		return new Date(seconds * 1000).toLocaleTimeString(LANGUAGE, { hour: '2-digit', minute: '2-digit', second: '2-digit' });
	},

	day(seconds) {
		const when = new Date(seconds * 1000);

		return when.toDateString() === new Date().toDateString() ? _('Today')
			: when.toLocaleDateString(LANGUAGE, { weekday: 'long', day: 'numeric', month: 'long' });
	},

	/* A kind of connection. */
	link(type) {
		return { ethernet: _('Ethernet'), wifi: _('Wi-Fi'), mobile: _('Mobile network'), ppp: _('PPP (DSL login)') }[type] || type;
	},

	/* Where the server sees a path; an own address of 100.64.0.0/10 is from a provider's NAT (RFC 6598). */
	seen(path) {
		return !path.nat ? path.public_address
			: (/^100\.(6[4-9]|[789]\d|1[01]\d|12[0-7])\./.test(path.local)
				? _('%s, behind the provider\'s NAT (CGNAT)') : _('%s, behind NAT')).format(path.public_address);
	},

	state(name) {
		return STATES[name] || name;
	},

	/* The state of everything in a word. */
	kind(seen) {
		return kindOf(seen)[0];
	},

	/* Why a path is in its state: a sentence. `path` may know metered and quotaMb too. */
	reason(path) {
		const known = REASONS[path.reason_code];

		return known ? known(path, path.reason_value) : sentence(path.reason);
	},

	/* What is wrong: the program's problems, then what goes wrong with peers and connections, each once. */
	troubles({ problems, peers }) {
		const all = [ ...problems || [] ];
		const told = all.map(problem => problem.code);
		const add = (name, error, known) => {
			if (error && !told.includes(error.code) && error.code !== (known || {}).code)
				all.push({ ...error, words: `${name}: ${error.words}` });
		};

		for (const peer of peers || []) {
			add(peer.name, peer.last_error);
			for (const path of peer.paths)
				add(path.wan, path.last_error, peer.last_error);
		}

		return all;
	},

	/* A problem: what is wrong, and more about it. */
	problem({ code, words, remedy }) {
		return PROBLEMS[code] ? [ PROBLEMS[code], words ] : [ sentence(words), sentence(remedy) ];
	},

	/* The state of everything in a line. */
	headline(seen) {
		const peers = (seen.status || {}).peers || [];
		const up = seen.status && seen.status.state === 'up' ? peers.filter(peer => peer.state === 'up') : [];

		return up.map(bonded).join('; ')
			|| kindOf(seen)[1].format(peers.map(peer => peer.endpoint || peer.name).join(', ') || _('the server'));
	}
});
