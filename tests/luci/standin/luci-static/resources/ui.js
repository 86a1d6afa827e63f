'use strict';
'require baseclass';
'require dom';
'require uci';

/* Part of the stand-in for LuCI's runtime: dialogues, notices, tabs, buttons that wait. */

const tabs = {
	/* Children with data-tab become pages behind a row of tabs. */
	initTabGroup(panes) {
		const pages = [ ...panes ].filter(pane => pane.dataset && pane.dataset.tab);

		if (pages.length === 0)
			return;

		const menu = E('ul', { 'class': 'cbi-tabmenu' }, pages.map(page => E('li', {
			'class': 'cbi-tab-disabled', 'data-tab': page.dataset.tab
		}, E('a', { 'href': '#', 'click': ev => { ev.preventDefault(); tabs.show(pages, menu, page.dataset.tab) } }, [ page.dataset.tabTitle ]))));

		pages[0].parentNode.insertBefore(menu, pages[0]);
		tabs.show(pages, menu, tabs.last || pages[0].dataset.tab);
	},

	show(pages, menu, name) {
		tabs.last = name;
		pages.forEach(page => page.setAttribute('data-tab-active', String(page.dataset.tab === name)));
		menu.childNodes.forEach(tab => { tab.className = tab.dataset.tab === name ? 'cbi-tab' : 'cbi-tab-disabled' });
	}
};

return baseclass.extend({
	tabs: tabs,

	instantiateView(path) {
		return L.require('view.' + path.replace(/\//g, '.')).catch(error => {
			console.error(error);
			dom.content(document.getElementById('view'), E('div', { 'class': 'alert-message error' }, [ String(error) ]));
		});
	},

	/* Calls a method of an object, with the button off and spinning until it is done. */
	createHandlerFn(self, method, ...args) {
		const fn = typeof method === 'string' ? self[method] : method;

		return function(ev) {
			const button = ev.currentTarget;

			button.disabled = true;
			button.classList.add('spinning');

			return Promise.resolve().then(() => fn.call(self, ...args, ev)).finally(() => {
				button.disabled = false;
				button.classList.remove('spinning');
			});
		};
	},

	showModal(title, children, ...classes) {
		this.hideModal();

		const box = E('div', { 'class': [ 'modal', ...classes ].join(' '), 'role': 'dialog', 'aria-modal': 'true' });

		dom.content(box, [ E('h4', [ title ]), children ]);
		document.body.appendChild(E('div', { 'id': 'modal_overlay' }, box));
		document.body.classList.add('modal-overlay-active');

		const first = box.querySelector('input, select, button');

		if (first)
			first.focus();

		return box;
	},

	hideModal() {
		const old = document.getElementById('modal_overlay');

		if (old)
			old.remove();

		document.body.classList.remove('modal-overlay-active');
	},

	addNotification(title, children, ...classes) {
		const box = E('div', { 'class': [ 'alert-message', 'fade-in', ...classes ].join(' ') }, [ title ? E('h4', [ title ]) : '', children ]);

		document.getElementById('maincontent').prepend(box);
		return box;
	},

	changes: {
		apply() {
			return uci.apply();
		}
	}
});
