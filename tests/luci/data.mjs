// What the program and netifd say, in the form of the status contract (src/status/model.rs).

// The reasons of paths by their codes.
export const WHY = Object.fromEntries([
	[ 'in_use', 'in use' ], [ 'backup_configured', 'not needed now' ], [ 'opening', 'waiting for the first answer' ],
	[ 'returning', 'answers again, being confirmed' ], [ 'silent', 'nothing acknowledged for 250 ms', 250 ],
	[ 'lossy', '31 % of the packets are lost', 31 ], [ 'late', 'adds 180 ms and would slow the bond', 180 ],
	[ 'link_down', 'link is down' ], [ 'no_address', 'link has no address' ], [ 'switched_off', 'switched off' ],
	[ 'peer_closed', 'closed by the peer' ],
	// 2026-08-15 UTC.
	[ 'quota_used_up', 'quota used up, only a backup until 15 August', 1786752000 ]
].map(([ code, words, value = null ]) => [ code, { reason: words, reason_code: code, reason_value: value } ]));

const path = (wan, device, state, why, down, up, capacityDown, capacityUp, rtt, more = {}) => ({
	wan, device, local: '192.0.2.7:41830', remote: '198.51.100.1:51830', state, ...WHY[why],
	rtt_ms: rtt, rtt_min_ms: rtt * 0.8, jitter_ms: rtt * 0.07, loss_up_percent: 0, loss_down_percent: state === 'down' ? 0 : 0.12,
	rate_up_kbps: up, rate_down_kbps: down, capacity_up_kbps: capacityUp, capacity_down_kbps: capacityDown,
	mtu: 1492, rx_bytes: down * 610000, tx_bytes: up * 610000, quota_used_mb: 0, last_error: null, tested: null, link_type: 'ethernet', gateway: '192.168.1.1', public_address: null, nat: null, ...more
});

const PATHS = {
	two: [
		path('dsl', 'pppoe-wan', 'active', 'in_use', 41200, 8300, 47000, 9400, 18.4),
		path('cable', 'eth2', 'active', 'in_use', 66800, 4100, 92000, 9800, 24.1)
	],
	three: [
		path('dsl', 'pppoe-wan', 'active', 'in_use', 41200, 8300, 47000, 9400, 18.4),
		path('lte', 'wwan0', 'active', 'in_use', 31800, 9100, 38000, 14000, 46.2, { quota_used_mb: 41250, jitter_ms: 8.1 }),
		path('starlink', 'eth2', 'active', 'in_use', 110400, 9600, 140000, 16000, 38.7, { loss_down_percent: 0.7 })
	],
	states: [
		path('dsl', 'pppoe-wan', 'active', 'in_use', 41200, 8300, 47000, 9400, 18.4),
		path('lte', 'wwan0', 'backup', 'quota_used_up', 12, 12, 38000, 14000, 46.2, { quota_used_mb: 50210 }),
		path('starlink', 'eth2', 'suspect', 'silent', 0, 0, 140000, 16000, 310.2),
		path('cable', 'eth3', 'probing', 'opening', 0, 0, 0, 0, 0),
		path('sat', 'eth4', 'held', 'late', 0, 20, 24000, 3000, 612.9),
		path('radio', 'eth5', 'down', 'link_down', 0, 0, 0, 0, 0),
		path('umts', 'wwan1', 'down', 'switched_off', 0, 0, 0, 0, 0),
		path('hotel', 'wlan1', 'backup', 'backup_configured', 8, 8, 9000, 2000, 88.8)
	],
	eight: [ 'dsl', 'cable', 'lte', 'starlink', 'fibre', 'radio', 'umts', 'hotel' ].map((wan, n) =>
		path(wan, `eth${n + 1}`, n === 6 ? 'backup' : 'active', n === 6 ? 'backup_configured' : 'in_use',
			n === 6 ? 10 : 20000 + 9000 * n, n === 6 ? 10 : 4000 + 700 * n, 30000 + 11000 * n, 6000 + 1000 * n, 12 + 9 * n))
};

export function newStatus(kind, state = 'up') {
	const paths = JSON.parse(JSON.stringify(PATHS[kind]));
	const used = paths.filter(one => one.state === 'active');
	const sum = key => used.reduce((all, one) => all + one[key], 0);
	const most = key => Math.max(0, ...used.map(one => one[key]));

	return {
		version: '0.1.0', role: 'client', state, uptime_s: 93784, device: 'onebox0', mtu: 1420, addresses: [ '10.99.0.2/24', 'fd99::2/64' ],
		peers: [ {
			name: 'vps', state: state === 'up' ? 'up' : state, endpoint: '198.51.100.1:51830', last_handshake_s: 74,
			rx_bytes: 48210000000, tx_bytes: 5120000000, paths, last_error: null, speed_test: null,
			bond: {
				goodput_up_kbps: Math.round(sum('rate_up_kbps') * 0.97), goodput_down_kbps: Math.round(sum('rate_down_kbps') * 0.97),
				best_single_up_kbps: most('capacity_up_kbps') || null, best_single_down_kbps: Math.round(most('rate_down_kbps') * 0.7),
				hold_ms: 62.5, retransmitted: 1812, duplicated: 44, released_late: 3, tested: null
			}
		} ],
		drops: { 'queue management': 312, 'tun packet too long': 0 }, drop_codes: { queue_management: 312, tun_packet_too_long: 0 }, problems: []
	};
}

// Five minutes in steps of a second, always the same; connections that are out were out before.
export function newHistory(status) {
	const wave = (n, t, size) => size * (0.8 + 0.14 * Math.sin(t / (9 + 3 * n)) + 0.06 * Math.sin(t / 3 + n * 2));

	return (since, step = 1) => {
		const kept = { 1: 300, 60: 1440, 3600: 744 }[step];
		const end = Math.floor(Date.now() / 1000 / step) * step;
		const length = since ? Math.min(kept, Math.max(0, Math.floor((end - since) / step))) : kept;
		const steps = Array.from({ length }, (_, at) => end - (length - 1 - at) * step);
		const paths = (status?.peers ?? []).flatMap(peer => peer.paths.map((one, n) => ({
			peer: peer.name, wan: one.wan,
			up_kbps: steps.map(t => Math.round(wave(n, t, one.rate_up_kbps))),
			down_kbps: steps.map(t => Math.round(wave(n, t, one.rate_down_kbps))),
			rtt_ms: steps.map(t => one.rtt_ms && wave(n + 1, t, one.rtt_ms * 1.2))
		})));
		const all = key => steps.map((_, at) => Math.round(0.97 * paths.reduce((sum, one) => sum + one[key][at], 0)));

		return { end_s: end, step_s: step, series: [ { peer: '', wan: '', up_kbps: all('up_kbps'), down_kbps: all('down_kbps'), rtt_ms: steps.map(() => 20) }, ...paths ] };
	};
}

export function newEvents() {
	const now = Math.floor(Date.now() / 1000);

	return [
		{ id: 1, time_s: now - 4000, peer: 'vps', state: 'up' },
		{ id: 2, time_s: now - 3990, peer: 'vps', wan: 'dsl', device: 'pppoe-wan', state: 'active', ...WHY.in_use },
		{ id: 3, time_s: now - 700, peer: 'vps', wan: 'starlink', device: 'eth2', state: 'suspect', ...WHY.silent },
		{ id: 4, time_s: now - 697, peer: 'vps', wan: 'starlink', device: 'eth2', state: 'probing', ...WHY.returning },
		{ id: 5, time_s: now - 695, peer: 'vps', wan: 'starlink', device: 'eth2', state: 'active', ...WHY.in_use },
		{ id: 6, time_s: now - 60, peer: 'vps', wan: 'lte', device: 'wwan0', state: 'active', ...WHY.in_use }
	];
}

const route = target => [ { target, mask: 0, nexthop: '192.0.2.1' } ];

export const interfaces = [
	{ interface: 'loopback', up: true, l3_device: 'lo', proto: 'static', route: [] },
	{ interface: 'lan', up: true, l3_device: 'br-lan', proto: 'static', route: [] },
	{ interface: 'wan', up: true, l3_device: 'pppoe-wan', proto: 'pppoe', route: route('0.0.0.0') },
	{ interface: 'wan6', up: true, l3_device: 'pppoe-wan', proto: 'dhcpv6', route: route('::') },
	{ interface: 'wwan', up: true, l3_device: 'wwan0', proto: 'qmi', route: [], inactive: { route: route('0.0.0.0') } },
	{ interface: 'sat', up: true, l3_device: 'eth2', proto: 'dhcp', route: route('0.0.0.0') },
	{ interface: 'tunnel', up: true, l3_device: 'onebox0', proto: 'onebox', route: route('0.0.0.0') }
];
