'use strict';
'require view';
'require dom';
'require poll';
'require ui';
'require uci';
'require onebox.daemon as daemon';
'require onebox.fields as fields';
'require onebox.words as words';
'require onebox.chart as chart';
'require onebox.past as past';

/* The state of the tunnel, live: a line in words, a card for each connection, charts, peers, events.
 *
 * How: every three seconds the page looks (see onebox/daemon.js) and draws anew; buttons are not
 * drawn anew while nothing about them has changed, so that none is pulled away from under a finger
 * and the keyboard stays where it is. A page that gets no answer says so and keeps what it showed.
 */

const POLL_S = 3;
const MOODS = { active: 'ob-good', backup: 'ob-info', probing: 'ob-info', suspect: 'ob-warn', held: 'ob-warn', down: 'ob-bad' };
const KIND_MOODS = { up: 'ob-good', connecting: 'ob-info', down: 'ob-bad', refused: 'ob-bad', starting: 'ob-info', stopped: 'ob-bad', lost: 'ob-warn' };

/* What follows from the kind that look() has found. */
const DETAILS = {
	off: _('All traffic leaves as if there were no tunnel.'),
	refused: _('Below is what is wrong. All traffic leaves as if there were no tunnel.'),
	starting: _('That takes a few seconds. If it lasts, the log below says why.'),
	stopped: _('It was stopped by hand, or ended by itself: then the log below says why.'),
	lost: _('The page tries again every %d seconds. What it shows is from before.').format(POLL_S)
};

function div(style, children) {
	return E('div', { class: style }, children);
}

/* Replaces what a node holds if that is another content than before. */
function update(node, key, make) {
	if (node.obKey === key)
		return;

	node.obKey = key;
	dom.content(node, make());
}

function bar(share, mood) {
	return E('div', { class: 'ob-bar ' + (mood || '') },
		E('div', { style: 'width:%.1f%%'.format(Math.max(0, Math.min(100, share * 100))) }));
}

function meter(title, rate, capacity, colour) {
	return div('ob-meter', [
		E('span', { class: 'ob-sub' }, title),
		E('span', [ capacity > 0 ? _('%s of %s').format(words.rate(rate), words.rate(capacity))
			: _('%s, not measured yet').format(words.rate(rate)) ]),
		bar(capacity > 0 ? rate / capacity : 0, colour)
	]);
}

function fact(title, value) {
	return E('div', [ E('dt', title), E('dd', [ value ]) ]);
}

return view.extend({
	handleSaveApply: null,
	handleSave: null,
	handleReset: null,

	load() {
		return Promise.all([ daemon.look(), L.resolveDefault(uci.load('onebox')) ]);
	},

	render([ seen ]) {
		this.colours = new Map();
		this.peers = new Map();
		this.writable = L.hasViewPermission() !== false;
		this.headline = E('h3', { class: 'ob-headline' });
		this.detail = div('ob-sub');
		this.actions = div('ob-actions');
		this.head = E('div', { class: 'ob-head', role: 'status', 'aria-live': 'polite' },
			[ E('div', [ this.headline, this.detail ]), this.actions ]);
		this.help = E('div');
		this.body = E('div');
		this.more = E('div');

		this.show(seen);
		poll.add(() => daemon.look().then(now => this.show(now)), POLL_S);

		return div('ob', [
			E('link', { rel: 'stylesheet', href: L.resource('onebox/onebox.css') }),
			E('h2', { name: 'content' }, _('Bonding')),
			this.head, this.help, this.body, this.more
		]);
	},

	/* Draws what look() has found. */
	show(seen) {
		const running = seen.kind === 'running';

		/* While the router does not answer, what was there last stays, greyed. */
		this.body.style.opacity = this.more.style.opacity = seen.kind === 'lost' ? '.45' : '';
		this.head.className = 'ob-head ' + (KIND_MOODS[running ? seen.status.state : seen.kind] || '');

		update(this.headline, words.headline(seen), () => [ words.headline(seen) ]);
		this.detail.textContent = this.detailOf(seen);
		update(this.actions, seen.kind + (running ? seen.status.state : seen.configured), () => this.renderActions(seen));
		const met = words.troubles(seen.status || {});

		update(this.help, JSON.stringify([ seen.kind, seen.problems, seen.log, met ]), () => this.renderHelp(seen, met));

		if (running && seen.status.state !== 'disabled') {
			/* At once, and again with what is asked for then. */
			if (this.peers.size === 0)
				this.showPeers(seen.status);

			return past.follow().then(() => this.showPeers(seen.status));
		}

		if (seen.kind !== 'lost') {
			dom.content(this.body, null);
			dom.content(this.more, null);
			this.peers.clear();
		}
	},

	detailOf({ kind, configured, status }) {
		if (kind === 'off' && !configured)
			return _('Nothing is set up yet. With a code from the server that takes a minute.');
		if (kind !== 'running')
			return DETAILS[kind];
		if (status.state === 'disabled')
			return _('The program runs and touches nothing, because it is switched off in the settings.');

		return [
			_('Running for %s').format(words.duration(status.uptime_s)),
			(status.addresses || []).length ? _('%s on %s').format(status.addresses.join(', '), status.device) : null,
			_('packets of up to %d bytes').format(status.mtu)
		].filter(part => part).join(' · ');
	},

	button(title, style, what) {
		return E('button', {
			class: 'cbi-button ' + style,
			disabled: this.writable ? null : '',
			click: ui.createHandlerFn(this, () => this.act(what))
		}, [ title ]);
	},

	/* Does something, tells if that failed, and looks again at once. */
	act(what) {
		return what().catch(error => {
			ui.addNotification(null, E('p', [ _('That has failed: %s').format(error.message || error) ]), 'danger');
		}).then(() => daemon.look()).then(seen => this.show(seen));
	},

	renderActions(seen) {
		const restart = this.button(_('Restart'), 'cbi-button-action', () => daemon.service('restart'));
		const stop = this.button(_('Stop'), 'cbi-button-negative', () => daemon.service('stop'));
		const start = this.button(_('Start'), 'cbi-button-positive', () => daemon.startForGood());
		const link = (page, title, style) => E('a', {
			class: 'cbi-button ' + style, href: L.url('admin/vpn/onebox', page)
		}, title);

		switch (seen.kind) {
		case 'running':
			return seen.status.state === 'disabled'
				? [ link('settings', _('Settings'), 'cbi-button-action') ]
				: [ this.button(_('Reconnect'), 'cbi-button-action', () => daemon.reconnect()), restart, stop ];
		case 'off':
			return seen.configured
				? [ this.button(_('Switch on'), 'cbi-button-positive', () => this.switchOn()) ]
				: [ link('setup', _('Set up'), 'cbi-button-positive') ];
		case 'refused':
			return [ link('settings', _('Settings'), 'cbi-button-action'), start ];
		case 'starting':
			return [ restart, stop ];
		case 'stopped':
			return [ start ];
		default:
			return [];
		}
	},

	/* The option first, since the service reads it. */
	switchOn() {
		uci.set('onebox', daemon.mainName(), 'enabled', '1');

		return uci.save().then(() => daemon.apply()).then(() => daemon.startForGood());
	},

	/* What the check, the log and the running program say is wrong. */
	renderHelp(seen, met) {
		const help = [];

		if (met.length)
			help.push(E('h3', _('Problems')), E('ul', { class: 'ob-problems' }, met.map(problem => {
				const [ what, more ] = words.problem(problem);

				return E('li', [ what, div('ob-sub', [ more ]) ]);
			})));
		if ((seen.problems || []).length)
			help.push(E('h3', seen.kind === 'refused' ? _('What is wrong with the settings') : _('What is odd about the settings')),
				E('ul', { class: 'ob-problems' }, seen.problems.map(line => E('li', [ line ]))));
		if (seen.log)
			help.push(E('h3', _('What the program said last')), E('pre', [ seen.log ]));

		return help;
	},

	colour(wan) {
		if (!this.colours.has(wan))
			this.colours.set(wan, this.colours.size % chart.COLOURS);

		return this.colours.get(wan);
	},

	showPeers(status) {
		this.tests = status.role === 'client';

		const names = status.peers.map(peer => peer.name);

		/* Others than before: all are laid out anew. */
		if (names.join('\n') !== [ ...this.peers.keys() ].join('\n')) {
			this.peers.clear();
			status.peers.forEach(peer => this.peers.set(peer.name, this.layOut(peer.name, names.length > 1)));
			dom.content(this.body, [ ...this.peers.values() ].map(parts => parts.node));
			dom.content(this.more, [ this.table = E('div'), this.events = E('div') ]);
		}

		status.peers.forEach(peer => this.showPeer(this.peers.get(peer.name), peer, names.length === 1));
		update(this.table, JSON.stringify(status.peers.map(peer => [ peer.name, peer.state, peer.endpoint, peer.last_handshake_s, peer.rx_bytes, peer.tx_bytes ])),
			() => this.renderPeers(status.peers));
		update(this.events, JSON.stringify(past.changes), () => this.renderEvents(past.changes));
	},

	/* Which time the charts show. */
	renderRanges() {
		return div('ob-ranges', past.RANGES.map(range => E('button', {
			class: 'cbi-button', type: 'button', 'aria-pressed': range === past.range ? 'true' : 'false',
			click: ev => {
				past.choose(range);
				ev.target.parentNode.childNodes.forEach(one => one.setAttribute('aria-pressed', one === ev.target));

				return daemon.look().then(now => this.show(now));
			}
		}, [ range.title ])));
	},

	layOut(name, titled) {
		const parts = {
			none: E('p', _('There is no internet connection to use: none has a default route, and none is set up here.')),
			cards: div('ob-grid-cards'), byWan: new Map(), totals: div('ob-totals'), picture: div('')
		};

		parts.down_kbps = new chart.Chart({ title: _('Download'), stacked: true, least: 1000, format: words.rate });
		parts.up_kbps = new chart.Chart({ title: _('Upload'), stacked: true, least: 1000, format: words.rate });
		parts.rtt_ms = new chart.Chart({ title: _('Round-trip time'), least: 10, format: words.ms });
		parts.test = div('ob-test');
		parts.node = E('div', [
			titled ? E('h3', [ name ]) : '', parts.none, parts.picture, parts.cards, parts.test,
			this.peers.size === 0 ? this.renderRanges() : '', div('ob-charts', past.VALUES.map(key => parts[key].node)), parts.totals
		]);

		return parts;
	},

	showPeer(parts, peer, alone) {
		const test = peer.speed_test || { steps: [] };
		const done = step => step.kbps != null || step.error;
		const now = test.running && test.steps.find(step => !done(step)) || { wans: [] };

		peer.paths.forEach(path => this.showPath(parts, Object.assign(this.withSettings(path), {
			busy: !!test.running,
			percent: now.wans.includes(path.wan) ? test.percent : null,
			refusal: test.steps.find(step => step.error && step.wans.join() === path.wan)
		})));
		this.showTest(parts.test, peer, test);
		parts.byWan.forEach((card, wan) => {
			if (peer.paths.some(path => path.wan === wan))
				return;

			card.node.remove();
			parts.byWan.delete(wan);
		});

		parts.none.hidden = peer.paths.length > 0;
		dom.content(parts.picture, peer.paths.length > 1 ? this.renderPicture(peer) : null);

		const series = past.series.filter(one => one.peer === peer.name);
		const total = alone && past.series.find(one => one.wan === '') || {};

		const shown = series.filter(one => one.wan !== '');

		update(parts.totals, JSON.stringify([ past.range.title, past.end_s, shown.length ]), () => this.renderTotals(shown));

		for (const key of past.VALUES) {
			parts[key].since.textContent = _('%s ago').format(words.duration(past.range.step * past.range.points));
			parts[key].draw(series.map(one => ({ name: one.wan, colour: this.colour(one.wan), values: one[key] })), key === 'rtt_ms' ? null : total[key]);
		}
	},

	/* Router, connections and server: a line is as thick as its share of what is carried. */
	renderPicture(peer) {
		const rate = path => path.rate_up_kbps + path.rate_down_kbps;
		const all = Math.max(1, ...peer.paths.map(rate));

		return div('ob-picture', [
			E('strong', _('Router')),
			E('div', peer.paths.map(path => E('div', { class: 'ob-way', 'data-state': path.state }, [
				E('span', [ path.wan ]),
				E('i', { class: 'ob-c%d'.format(this.colour(path.wan)), style: 'border-top-width:%.1fpx'.format(2 + 8 * rate(path) / all) }),
				E('span', path.state === 'active' ? words.rate(rate(path)) : words.state(path.state))
			]))),
			E('strong', [ peer.name ])
		]);
	},

	/* What each connection carried in the time that the charts show, and how long it was there. */
	renderTotals(series) {
		return E('dl', { class: 'ob-pair' }, series.flatMap(one => {
			const { down, up, there } = past.totals(one);

			return [
				E('dt', [ E('i', { class: 'ob-c%d'.format(this.colour(one.wan)) }), one.wan ]),
				E('dd', [ _('%s received, %s sent, there %s of the time').format(words.bytes(down), words.bytes(up), words.percent(there * 100)) ])
			];
		}));
	},

	/* The test of all together; a single link has its own button. */
	showTest(node, peer, test) {
		const found = peer.bond && peer.bond.tested;

		node.hidden = peer.paths.length < 2 || peer.state !== 'up' || !this.tests;
		update(node, JSON.stringify([ test.running, test.percent, found ]), () => test.running
			? [ E('span', [ _('Speed test: %s').format(words.percent(test.percent)) ]), bar(test.percent / 100, 'ob-info') ]
			: [ this.testButton(_('Test all'), _('Each link for 10 s, then all together; your traffic goes first. Metered links are left out.')),
				div('ob-sub', [ found ? words.tested(found) : _('What all carry together was not measured yet.') ]) ]);
	},

	testButton(title, hint, wan) {
		const button = this.button(title, 'cbi-button-action', () => daemon.test(wan));

		button.title = hint;

		return button;
	},

	/* A path with what the settings say about its WAN. */
	withSettings(path) {
		const section = uci.sections('onebox', 'wan').find(wan =>
			wan['.name'] === path.wan || (wan['.anonymous'] && (wan.interface || wan.device) === path.wan)) || {};

		return Object.assign({
			off: path.reason_code === 'switched_off',
			mode: section.mode || 'active',
			metered: fields.flag(section.metered) === '1',
			quotaMb: +section.quota_mb || 0
		}, path);
	},

	showPath(parts, path) {
		let card = parts.byWan.get(path.wan);

		if (!card) {
			card = { top: E('div'), facts: div('ob-data'), more: E('div'), actions: div('ob-actions') };
			card.node = E('div', { class: 'ob-card', 'data-wan': path.wan }, [ card.top, card.facts, card.more, card.actions ]);
			parts.byWan.set(path.wan, card);
			parts.cards.appendChild(card.node);
		}

		card.node.className = 'ob-card ' + (path.off ? '' : MOODS[path.state] || '');
		card.node.dataset.state = path.state;
		update(card.top, JSON.stringify([ path.state, path.reason, path.device ]), () => this.renderTop(path));
		dom.content(card.facts, this.renderFacts(path));
		update(card.more, JSON.stringify([ path.gateway, path.local, path.mtu, path.link_type, path.public_address, path.nat ]), () => this.renderMore(path, card.more.querySelector('details[open]')));
		update(card.actions, [ path.off, path.busy, path.state ].join(), () => this.renderPathActions(path));
	},

	renderTop(path) {
		return [
			div('ob-card-title', [
				E('i', { class: 'ob-c%d'.format(this.colour(path.wan)) }),
				E('strong', [ path.wan ]),
				E('span', { class: 'ob-sub' }, [ path.device !== path.wan ? path.device : '' ]),
				E('span', { class: 'ob-badge' }, path.off ? _('Taken out') : words.state(path.state))
			]),
			E('p', { class: 'ob-reason' }, [ words.reason(path) ])
		];
	},

	renderFacts(path) {
		const facts = [];
		const colour = 'ob-c%d'.format(this.colour(path.wan));

		if (path.state !== 'down')
			facts.push(
				meter(_('Download'), path.rate_down_kbps, path.capacity_down_kbps, colour),
				meter(_('Upload'), path.rate_up_kbps, path.capacity_up_kbps, colour),
				E('dl', { class: 'ob-facts' }, [
					fact(_('Round trip'), path.rtt_ms ? words.ms(path.rtt_ms) : '–'),
					fact(_('Jitter'), words.ms(path.jitter_ms)),
					fact(_('Loss down'), words.percent(path.loss_down_percent)),
					fact(_('Loss up'), words.percent(path.loss_up_percent))
				]));
		if (path.quotaMb) {
			const share = path.quota_used_mb / path.quotaMb;

			facts.push(div('ob-meter', [
				E('span', { class: 'ob-sub' }, _('Quota')),
				E('span', _('%s of %s').format(words.volume(path.quota_used_mb), words.volume(path.quotaMb))),
				bar(share, share >= 1 ? 'ob-bad' : share >= 0.8 ? 'ob-warn' : '')
			]));
		}
		else {
			facts.push(div('ob-sub', _('%s received, %s sent')
				.format(words.bytes(path.rx_bytes), words.bytes(path.tx_bytes))));
		}

		if (path.percent != null)
			facts.push(div('ob-meter', [
				E('span', { class: 'ob-sub' }, _('Speed test')), E('span', [ words.percent(path.percent) ]), bar(path.percent / 100, colour)
			]));
		else if (path.refusal || path.tested)
			facts.push(div('ob-sub', [ path.refusal ? words.untested(path.refusal) : words.tested(path.tested) ]));

		return facts;
	},

	/* What only somebody who looks for something wants to know. */
	renderMore(path, open) {
		const facts = [
			[ _('Type'), words.link(path.link_type) ], [ _('Largest packet'), path.mtu ? _('%d bytes').format(path.mtu) : '' ],
			[ _('Gateway'), path.gateway ], [ _('Own address'), path.local ], [ _('Public address'), words.seen(path) ]
		].filter(([ , value ]) => value);
		const pair = ([ title, value ]) => [ E('dt', title), E('dd', [ value ]) ];
		const list = E('dl', { class: 'ob-pair' }, facts.flatMap(pair));
		const provider = path.public_address && (ev => ev.target.open && daemon.reverse(path.public_address).then(name => {
			if (name && list.children.length === 2 * facts.length)
				dom.append(list, pair([ _('Provider'), name ]));
		}));

		return facts.length ? E('details', Object.assign({ toggle: provider }, open ? { open: '' } : {}), [
			E('summary', { class: 'ob-sub' }, _('Details')), list
		]) : null;
	},

	renderPathActions(path) {
		const back = path.mode === 'off' ? 'active' : path.mode;
		const button = path.off
			? this.button(_('Take back in'), 'cbi-button-positive', () => daemon.setPath(path.wan, back))
			: this.button(_('Take out'), 'cbi-button-neutral', () => daemon.setPath(path.wan, 'off'));

		button.title = _('Until the next start; the settings say what holds for good.');

		const buttons = [ button ];

		if (this.tests && !path.busy && [ 'active', 'backup', 'held' ].includes(path.state))
			buttons.push(this.testButton(_('Test now'),
				_('Fills the link for 5 s each way, even if its data costs money; your traffic goes first.'), path.wan));
		buttons.forEach(one => one.setAttribute('aria-label', '%s: %s'.format(one.textContent, path.wan)));

		return buttons;
	},

	/* A peer in a line, for those that are not on the cards. */
	renderPeers(peers) {
		return [ E('h3', _('Server')), E('dl', { class: 'ob-pair' }, peers.flatMap(peer => [
			E('dt', [ peer.name, ', ', words.kind({ kind: 'running', status: peer }) ]),
			E('dd', [ _('%s, last handshake: %s, %s received, %s sent').format(peer.endpoint || '–',
				peer.last_handshake_s == null ? _('never') : _('%s ago').format(words.duration(peer.last_handshake_s)),
				words.bytes(peer.rx_bytes), words.bytes(peer.tx_bytes)) ])
		])) ];
	},

	renderEvents(changes) {
		const sentence = change => change.wan
			? [ E('strong', [ change.wan ]), ': ', words.state(change.state), change.reason && change.state !== 'active' ? ' – ' + words.reason(change) : '' ]
			: [ E('strong', [ change.peer ]), ': ', words.kind({ kind: 'running', status: change }) ];

		return [
			E('h3', _('Events')),
			changes.length
				? E('ul', { class: 'ob-events', tabindex: '0' }, changes.slice().reverse().map((change, at, all) => {
					const day = words.day(change.time_s);

					/* The date stands where it begins, but for today's. */
					return E('li', [
						day !== words.day(at > 0 ? all[at - 1].time_s : Date.now() / 1000) ? E('strong', { class: 'ob-day' }, day) : '',
						E('time', words.time(change.time_s)), E('span', sentence(change))
					]);
				}))
				: E('p', { class: 'ob-sub' }, _('Nothing has changed yet.'))
		];
	}
});
