'use strict';
'require baseclass';
'require uci';
'require onebox.daemon as daemon';
'require onebox.words as words';

/* The box on LuCI's start page: the state in a line, and a row for each connection. */

return baseclass.extend({
	title: _('Bonding'),

	load() {
		return daemon.look();
	},

	render(seen) {
		/* Nobody has asked for it yet. */
		if (!seen || (seen.kind === 'off' && !seen.configured))
			return null;

		const table = E('table', { class: 'table ob-overview' });
		const row = (left, right) => table.appendChild(E('tr', { class: 'tr' }, [
			E('td', { class: 'td left', width: '33%' }, [ left ]), E('td', { class: 'td left' }, [ right ])
		]));

		row(E('a', { href: L.url('admin/vpn/onebox') }, [ words.kind(seen) ]), E('strong', [ words.headline(seen) ]));

		if (seen.kind === 'running')
			for (const peer of seen.status.peers || [])
				for (const path of peer.paths)
					row(path.wan, path.state === 'active'
						? _('%s down, %s up, %s').format(words.rate(path.rate_down_kbps), words.rate(path.rate_up_kbps), words.ms(path.rtt_ms))
						: words.reason(path));

		return table;
	}
});
